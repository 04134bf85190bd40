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

// expiryInterval is how often the log tells what ends soon.
const expiryInterval = 24 * time.Hour

// maxEnding bounds how many names a reason of /readyz has.
const maxEnding = 5

// ending is what ends soon, or has ended, unless somebody signs it again.
type ending struct {
	what    string // for people: a channel of an app, or the trust document of an org
	expires time.Time
}

// Endings tells operators what ends soon. It keeps what it found, since anybody may ask /readyz and finding it looks at
// every channel.
type Endings struct {
	state *State
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	found   []ending
	at      time.Time // when found was
	changes uint64    // of the state until then
}

// endingAge is how old what was found may be.
const endingAge = time.Minute

// NewEndings returns the endings of a state.
func NewEndings(state *State, now func() time.Time, log *slog.Logger) *Endings {
	return &Endings{state: state, now: now, log: log}
}

// soon returns the trust documents and channel manifests in force that end soon or have ended, the first one first. The
// caller must not change the list.
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

// Count returns how many manifests and trust documents end soon or have ended.
func (e *Endings) Count() int { return len(e.soon()) }

// Reasons says what ends soon, for operators.
func (e *Endings) Reasons() (reasons []string) {
	now := e.now()
	list := e.soon()
	for i, one := range list {
		if i == maxEnding {
			return append(reasons, fmt.Sprintf("%d more end soon or have ended", len(list)-i))
		}
		if now.Before(one.expires) {
			reasons = append(reasons, one.what+" ends on "+one.expires.UTC().Format(time.DateOnly))
		} else {
			reasons = append(reasons, one.what+" has expired")
		}
	}
	return reasons
}

// Run logs what ends soon, at the start and once a day, until ctx ends.
func (e *Endings) Run(ctx context.Context) {
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		for _, reason := range e.Reasons() {
			e.log.Warn("signed statement ends", "what", reason,
				"hint", "brink channel renew, or brink org update for a trust document")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
