package fleet

import (
	"context"
	"net/http"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
)

// A node that starts fetches everything from one member, instead of finding it by gossip.
const (
	memberWait   = 3 * time.Second // for any member; the first node of a fleet finds none
	catchUpWait  = 2 * time.Minute // for everything that a member has; the rest is fetched while the node serves
	catchUpSlots = 8               // channels at the same time
)

// CatchUp brings into force what the fleet has. It returns when that is done, when no member answers, or when ctx ends.
func (f *Fleet) CatchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	late := time.NewTimer(memberWait)
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

// catchUpWith brings into force what another node has, and reports whether that answered.
func (f *Fleet) catchUpWith(ctx context.Context, other gossip.Member) bool {
	asking, cancel := context.WithTimeout(ctx, StatusWait)
	defer cancel()
	var status protocol.NodeStatus
	if err := f.RequestJSON(asking, asMember(other), http.MethodGet, protocol.FleetStatusPath, nil, &status); err != nil {
		f.Logger.Debug("cannot catch up with node", "node", other.Name, "error", err)
		return false
	}
	for _, trust := range f.Door.State.Trusts() {
		if err := f.pullTrust(ctx, other, trust.Org()); err != nil {
			f.Logger.Debug("trust document of another node not applied", "node", other.Name, "org", trust.Org(), "error", err)
		}
	}
	pulling := f.Work.Part()
	slots := make(chan struct{}, catchUpSlots)
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
				f.Logger.Warn("announcement of another node not applied", "node", other.Name, "app", c.App,
					"channel", c.Channel, "error", err)
			}
		})
	}
	pulling.Wait()
	return true
}
