package node

import (
	"context"
	"fmt"
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

// endings keeps what ends soon, since anybody may ask /readyz and finding it looks at every channel.
type endings struct {
	mu      sync.Mutex
	found   []ending
	at      time.Time // when found was
	changes uint64    // of channels and trust documents until then
}

// endingAge is how old what was found may be.
const endingAge = time.Minute

// ending returns the trust documents and channel manifests in force that end soon or have ended, the first one first.
// The caller must not change the list.
func (n *Node) ending() []ending {
	e := &n.endings
	e.mu.Lock()
	defer e.mu.Unlock()
	now, changes := n.config.Now(), n.channels.changes.Load()
	if age := now.Sub(e.at); e.at.IsZero() || age < 0 || age >= endingAge || changes != e.changes {
		e.found, e.at, e.changes = n.findEnding(now), now, changes
	}
	return e.found
}

func (n *Node) findEnding(now time.Time) (list []ending) {
	for _, trust := range n.channels.trusts.all() {
		if channel.EndsSoon(trust.Issued(), trust.Expires(), now) {
			list = append(list, ending{"trust document of " + trust.Org(), trust.Expires()})
		}
	}
	n.channels.each(func(m *channel.Manifest) {
		if channel.EndsSoon(m.Issued, m.Expires, now) {
			list = append(list, ending{"channel " + m.Channel + " of " + m.App, m.Expires})
		}
	})
	slices.SortFunc(list, func(a, b ending) int { return a.expires.Compare(b.expires) })
	return list
}

// expiring says what ends soon, for operators.
func (n *Node) expiring() (reasons []string) {
	now := n.config.Now()
	list := n.ending()
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

// watchExpiry tells in the log what ends soon, at the start and once a day, until ctx ends.
func (n *Node) watchExpiry(ctx context.Context) {
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		for _, reason := range n.expiring() {
			n.config.Logger.Warn("signed statement ends", "what", reason,
				"hint", "brink channel renew, or brink org update for a trust document")
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
