package fleet

import (
	"context"
	"net/http"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
)

// Catching up when a node starts: what gossip would find exchange by exchange, it asks one member for.
const (
	meetWait  = 3 * time.Second // for any member; the first node of a fleet meets nobody
	catchWait = 2 * time.Minute // for all that a member has; the rest comes while the node serves
	catchers  = 8               // channels at the same time
)

// CatchUp brings in what the fleet has. It returns when that is in force, when nobody answers, or when ctx ends.
func (f *Fleet) CatchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchWait)
	defer cancel()
	late := time.NewTimer(meetWait)
	defer late.Stop()
	for change := f.change(); len(f.Members()) == 0; change = f.change() {
		select {
		case <-change:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
	for i, other := range f.Members() {
		if i == 3 { // the others have the same
			return
		}
		if f.catchUpWith(ctx, other) {
			return
		}
	}
}

// catchUpWith brings in what another node has, and reports whether it answered.
func (f *Fleet) catchUpWith(ctx context.Context, other gossip.Member) bool {
	asking, cancel := context.WithTimeout(ctx, StatusWait)
	defer cancel()
	var status protocol.NodeStatus
	if err := f.AskJSON(asking, asMember(other), http.MethodGet, protocol.FleetStatusPath, nil, &status); err != nil {
		f.Logger.Debug("node cannot be caught up with", "node", other.Name, "error", err)
		return false
	}
	for _, trust := range f.Door.State.Trusts() {
		if err := f.pullTrust(ctx, other, trust.Org()); err != nil {
			f.Logger.Debug("trust document is not taken", "node", other.Name, "org", trust.Org(), "error", err)
		}
	}
	pulling := f.Work.Part()
	slots := make(chan struct{}, catchers)
	for _, c := range status.Channels {
		if m := f.Door.State.Manifest(c.App, c.Channel); m != nil && m.Order() >= channel.OrderOf(c.Sequence, c.Renewal) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		pulling.Go(func() {
			defer func() { <-slots }()
			if err := f.pull(ctx, other, c.App, c.Channel); err != nil && ctx.Err() == nil {
				f.Logger.Warn("what another node holds is not taken", "node", other.Name, "app", c.App,
					"channel", c.Channel, "error", err)
			}
		})
	}
	pulling.Wait()
	return true
}
