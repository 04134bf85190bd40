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

// replicaWait bounds how long a publisher waits for replicas on other nodes.
const replicaWait = 60 * time.Second

// Replicas is on how many nodes, and in how many regions, a release has to be durable before its publisher gets an
// answer.
type Replicas struct{ nodes, regions int }

// ReadReplicas returns the replicas that a request asks for. A nil fleet has no other nodes.
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
		return want, serve.Problem(protocol.CodeBadRequest, "this node has no fleet, so there cannot be other replicas",
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

// replications caches which nodes have the manifests in force. For each manifest, requests are sent once at a time and
// once in a while, independent of the number of publishers: anybody who has seen a manifest can send it again.
type replications struct {
	mu        sync.Mutex
	byChannel map[string]*replication
}

// replication is the known replicas of one manifest. Its fields are guarded by replications.mu.
type replication struct {
	manifest digest.Digest
	have     []protocol.Replica // this node first
	changed  chan struct{}      // closed when have or finished changes, and then replaced
	finished bool               // no more requests are sent
	expires  time.Time          // if finished
	members  <-chan struct{}    // closed at a change of members, by which it expires too
}

// fresh reports whether no new requests are necessary. The caller holds replications.mu.
func (r *replication) fresh(now time.Time) bool {
	select {
	case <-r.members:
		return !r.finished
	default:
		return !r.finished || now.Before(r.expires)
	}
}

// notify wakes those that wait. The caller holds replications.mu.
func (r *replication) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Replicate returns when m is durable on enough nodes, or when no more will have it in time. It returns the nodes that
// have it, this one first, or nil if only this one was wanted. It may take long, so the caller must not hold the lock
// of the channel.
func (f *Fleet) Replicate(m *channel.Manifest, want Replicas) []protocol.Replica {
	if f == nil || want.nodes <= 1 && want.regions <= 1 {
		return nil
	}
	all := &f.replications
	all.mu.Lock()
	defer all.mu.Unlock()
	r := f.replication(m)
	for !want.met(r.have) && !r.finished {
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

// replication returns the replication of a manifest, and starts one if there is none or it has expired. The caller
// holds replications.mu.
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
			r.finished, r.expires = true, f.Now().Add(replicaWait)
			r.members = f.change()
			r.notify()
		}()
		f.requestAll(m, func(one protocol.Replica) {
			all.mu.Lock()
			defer all.mu.Unlock()
			r.have = append(r.have, one)
			r.notify()
		})
	})
	return r
}

// requestAll requests the other nodes to bring a manifest into force, and calls add for each that has, one after the
// other. It waits for members that are starting, as far as this node knows, so that the nodes of a new fleet count.
func (f *Fleet) requestAll(m *channel.Manifest, add func(protocol.Replica)) {
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
				one = f.requestHold(ctx, other, m)
			})
		}
		if waiting == 0 && !f.starting() {
			return
		}
		select {
		case one := <-answers:
			waiting--
			if one != nil {
				add(*one)
			}
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

// requestHold requests another node to bring a manifest into force, and returns nil if it does not.
func (f *Fleet) requestHold(ctx context.Context, other gossip.Member, m *channel.Manifest) *protocol.Replica {
	in := protocol.Hold{
		App: m.App, Channel: m.Channel, Order: m.Order(), Statement: m.Statement(), Bundle: m.Release.Bundle,
		From: f.Node,
	}
	var answer protocol.Replica
	if err := f.RequestJSON(ctx, asMember(other), http.MethodPost, protocol.FleetHoldPath, in, &answer); err != nil {
		if ctx.Err() == nil {
			f.Logger.Warn("published manifest is not in force on another node", "node", other.Name, "error", err)
		}
		return nil
	}
	return &protocol.Replica{Node: other.Name, Region: other.Region} // as gossip says, not as the answer says
}

// spread orders members so that regions alternate, the node's own region last, so that the first few are in as many
// regions as possible.
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
