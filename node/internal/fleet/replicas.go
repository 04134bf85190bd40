package fleet

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/serve"
	"brink/protocol"
)

// replicaWait bounds how long a publisher waits for other nodes to hold what it published.
const replicaWait = 60 * time.Second

// Replicas is on how many nodes, and in how many regions, a release is to be durable before its publisher is told.
type Replicas struct{ nodes, regions int }

// ReadReplicas reads from a request what its publisher asks for. A nil fleet has no other node.
func (f *Fleet) ReadReplicas(r *serve.Request) (Replicas, error) {
	want := Replicas{nodes: 1, regions: 1}
	for field, into := range map[string]*int{protocol.FieldReplicas: &want.nodes, protocol.FieldRegions: &want.regions} {
		value := string(r.Request.Header.Peek(field))
		if value == "" {
			continue
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 1 || number > protocol.MaxReplicas {
			return want, serve.Problem(protocol.CodeBadRequest,
				fmt.Sprintf("%s is %q, not a number from 1 to %d", field, value, protocol.MaxReplicas), "")
		}
		*into = number
	}
	if want.nodes > 1 && f == nil {
		return want, serve.Problem(protocol.CodeBadRequest, "this node belongs to no fleet, so there can be no other replica",
			"start it with --fleet, or publish without --replicas")
	}
	return want, nil
}

func (w Replicas) met(by []protocol.Replica) bool {
	regions := map[string]bool{}
	for _, one := range by {
		regions[one.Region] = true
	}
	return len(by) >= w.nodes && len(regions) >= w.regions
}

// replications are what is known of the nodes that hold the manifests in force. One manifest is asked about once at a
// time, and once in a while, however many want to know: whoever has seen a manifest can send it again.
type replications struct {
	mu        sync.Mutex
	byChannel map[string]*replication
}

// replication is what other nodes said of one manifest. Its fields are guarded by replications.mu.
type replication struct {
	manifest digest.Digest
	have     []protocol.Replica // this node first
	changed  chan struct{}      // closed when have has changed, or no more is asked; then there is another one
	over     bool               // no more is asked
	again    time.Time          // when it may be asked again, or when the members of the fleet have changed
	members  <-chan struct{}    // closed when they have
}

// fresh reports whether what is known is all that can be. The caller holds replications.mu.
func (r *replication) fresh(now time.Time) bool {
	select {
	case <-r.members:
		return !r.over
	default:
		return !r.over || now.Before(r.again)
	}
}

// change wakes those who wait. The caller holds replications.mu.
func (r *replication) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Replicate returns when so many nodes hold m durably as are wanted, or when no more will in time. It returns those
// that do, this one first, and nothing when only this one was wanted. The caller must not hold the channel's turn: this
// may take long.
func (f *Fleet) Replicate(m *channel.Manifest, want Replicas) []protocol.Replica {
	if f == nil || want.nodes <= 1 && want.regions <= 1 {
		return nil
	}
	all := &f.replications
	all.mu.Lock()
	defer all.mu.Unlock()
	r := f.replication(m)
	for !want.met(r.have) && !r.over {
		changed := r.changed
		all.mu.Unlock()
		select {
		case <-changed:
		case <-f.Context.Done():
		}
		all.mu.Lock()
		if f.Context.Err() != nil {
			break
		}
	}
	return slices.Clone(r.have)
}

// replication returns what is known of a manifest, and begins to ask if nobody has lately. The caller holds
// replications.mu.
func (f *Fleet) replication(m *channel.Manifest) *replication {
	all, key := &f.replications, m.App+"/"+m.Channel
	r, now := all.byChannel[key], f.Now()
	if r != nil && r.manifest == m.Digest() && r.fresh(now) {
		return r
	}
	r = &replication{
		manifest: m.Digest(),
		have:     []protocol.Replica{{Node: f.Node, Region: f.Region}},
		changed:  make(chan struct{}),
		members:  f.change(),
	}
	if all.byChannel == nil {
		all.byChannel = map[string]*replication{}
	}
	all.byChannel[key] = r
	f.Work.Go(func() {
		defer func() {
			all.mu.Lock()
			defer all.mu.Unlock()
			r.over, r.again = true, f.Now().Add(replicaWait)
			r.members = f.change()
			r.change()
		}()
		f.askAll(m, func(one protocol.Replica) {
			all.mu.Lock()
			defer all.mu.Unlock()
			r.have = append(r.have, one)
			r.change()
		})
	})
	return r
}

// askAll asks the other nodes to hold a manifest, and calls holds for each that does, one after the other. It waits for
// members that are starting, or were when this node last heard of them: whoever has just started a fleet has its nodes
// counted.
func (f *Fleet) askAll(m *channel.Manifest, holds func(protocol.Replica)) {
	ctx, cancel := context.WithTimeout(f.Context, replicaWait)
	asking := f.Work.Part()
	defer asking.Wait()
	defer cancel()
	asked := map[string]bool{}
	answers := make(chan *protocol.Replica, protocol.MaxReplicas)
	for waiting := 0; ; {
		change := f.change()
		for _, other := range spread(f.Members(), f.Region) {
			if asked[other.Name] || len(asked) == cap(answers) {
				continue
			}
			asked[other.Name] = true
			waiting++
			asking.Go(func() {
				var one *protocol.Replica
				defer func() { answers <- one }()
				one = f.askHold(ctx, other, m)
			})
		}
		if waiting == 0 && !f.starting() {
			return
		}
		select {
		case one := <-answers:
			waiting--
			if one != nil {
				holds(*one)
			}
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

// askHold asks another node to hold a manifest, and returns nil if it does not.
func (f *Fleet) askHold(ctx context.Context, other gossip.Member, m *channel.Manifest) *protocol.Replica {
	question := protocol.Hold{
		App: m.App, Channel: m.Channel, Order: m.Order(), Statement: m.Statement(), Bundle: m.Release.Bundle,
		From: f.Node,
	}
	var answer protocol.Replica
	if err := f.AskJSON(ctx, asMember(other), http.MethodPost, protocol.FleetHoldPath, question, &answer); err != nil {
		if ctx.Err() == nil {
			f.Logger.Warn("node does not hold what was published", "node", other.Name, "error", err)
		}
		return nil
	}
	return &protocol.Replica{Node: other.Name, Region: other.Region} // who it is, is known better than it says
}

// spread orders members so that the regions take turns, that of the node last: the first few are in as many regions as
// there are.
func spread(members []gossip.Member, own string) []gossip.Member {
	var regions []string
	byRegion := map[string][]gossip.Member{}
	for _, m := range members {
		if byRegion[m.Region] == nil && m.Region != own {
			regions = append(regions, m.Region)
		}
		byRegion[m.Region] = append(byRegion[m.Region], m)
	}
	regions = append(regions, own)
	ordered := make([]gossip.Member, 0, len(members))
	for len(ordered) < len(members) {
		for _, region := range regions {
			if list := byRegion[region]; len(list) > 0 {
				ordered, byRegion[region] = append(ordered, list[0]), list[1:]
			}
		}
	}
	return ordered
}
