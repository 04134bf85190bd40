package force

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"brink/channel"
)

// expiryInterval is how often the log reports what expires soon.
const expiryInterval = 24 * time.Hour

// maxEnding bounds the reasons of /readyz about expiry.
const maxEnding = 5

// ending is a signed statement that expires soon, or has expired.
type ending struct {
	what    string // for people: a channel of an app, or the trust document of an org
	expires time.Time
}

// Endings reports to operators what expires soon. It caches what it found: anybody may request /readyz, and it has to
// examine every channel.
type Endings struct {
	state *State
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	found   []ending
	at      time.Time // of found
	changes uint64    // of the state at that time
}

// endingAge is how long found is valid.
const endingAge = time.Minute

// NewEndings reports on a state.
func NewEndings(state *State, now func() time.Time, log *slog.Logger) *Endings {
	return &Endings{state: state, now: now, log: log}
}

// soon returns the trust documents and channel manifests in force that expire soon or have expired, by time of expiry.
// The caller must not change the list.
func (e *Endings) soon() []ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, changes := e.now(), e.state.changes.Load()
	if age := now.Sub(e.at); e.at.IsZero() || age < 0 || age >= endingAge || changes != e.changes {
		e.found, e.at, e.changes = e.find(now), now, changes
	}
	return e.found
}

func (e *Endings) find(now time.Time) (list []ending) {
	for _, trust := range e.state.Trusts() {
		if channel.EndsSoon(trust.Issued(), trust.Expires(), now) {
			list = append(list, ending{"trust document of " + trust.Org(), trust.Expires()})
		}
	}
	e.state.Each(func(m *channel.Manifest) {
		if channel.EndsSoon(m.Issued, m.Expires, now) {
			list = append(list, ending{"channel " + m.Channel + " of " + m.App, m.Expires})
		}
	})
	slices.SortFunc(list, func(a, b ending) int { return a.expires.Compare(b.expires) })
	return list
}

// Count returns how many manifests and trust documents expire soon or have expired.
func (e *Endings) Count() int { return len(e.soon()) }

// Reasons describes what expires soon, for operators.
func (e *Endings) Reasons() (reasons []string) {
	now := e.now()
	list := e.soon()
	for i, one := range list {
		if i == maxEnding {
			return append(reasons, fmt.Sprintf("%d more expire soon or have expired", len(list)-i))
		}
		if now.Before(one.expires) {
			reasons = append(reasons, one.what+" expires on "+one.expires.UTC().Format(time.DateOnly))
		} else {
			reasons = append(reasons, one.what+" has expired")
		}
	}
	return reasons
}

// Run logs what expires soon, at the start and once a day, until ctx ends.
func (e *Endings) Run(ctx context.Context) {
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		for _, reason := range e.Reasons() {
			e.log.Warn("signed statement expires soon or has expired", "what", reason,
				"hint", "run brink channel renew, or brink org update for a trust document")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
