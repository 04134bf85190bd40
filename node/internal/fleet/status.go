package fleet

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"brink/gossip"
	"brink/node/internal/serve"
	"brink/protocol"
)

// StatusWait bounds how long another node may take to send its status.
const StatusWait = 5 * time.Second

// Survey requests the status of all nodes of the fleet, and compares which manifests they have.
func (f *Fleet) Survey(ctx context.Context) protocol.FleetStatus {
	self := protocol.FleetMember{NodeStatus: f.Status()}
	var others []gossip.Member
	for _, m := range f.gossip.Members() {
		if m.Name != f.Node {
			others = append(others, m)
		}
	}
	nodes := make([]protocol.FleetMember, len(others)+1)
	nodes[0] = self
	ctx, cancel := context.WithTimeout(ctx, StatusWait)
	defer cancel()
	var asking sync.WaitGroup
	for i, m := range others {
		asking.Go(func() {
			one := &nodes[i+1]
			err := f.RequestJSON(ctx, asMember(m), http.MethodGet, protocol.FleetStatusPath, nil, &one.NodeStatus)
			if err != nil {
				one.Error = err.Error()
			}
			// Name, region and URL are those of gossip, not those in the answer.
			one.Node, one.Region, one.URL = m.Name, m.Region, m.URL
			if one.Version = m.Version; one.State == "" {
				one.State = m.State.String()
			}
		})
	}
	asking.Wait()
	answer := protocol.FleetStatus{Fleet: f.Name, Nodes: nodes}
	answer.Channels = compare(nodes)
	slices.SortFunc(nodes, func(a, b protocol.FleetMember) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	return answer
}

// compare fills in what each node lacks that others have, and returns the number of channels.
func compare(nodes []protocol.FleetMember) int {
	type name struct{ app, channel string }
	highest := map[name]uint64{}
	for i := range nodes {
		for _, c := range nodes[i].Channels {
			highest[name{c.App, c.Channel}] = max(highest[name{c.App, c.Channel}], c.Sequence)
		}
	}
	for i := range nodes {
		one := &nodes[i]
		if one.Error != "" {
			continue
		}
		has := map[name]uint64{}
		for _, c := range one.Channels {
			has[name{c.App, c.Channel}] = c.Sequence
		}
		one.Channels = nil
		for key, sequence := range highest {
			if has[key] < sequence {
				one.Behind += sequence - has[key]
				one.Lacking = append(one.Lacking, protocol.ChannelLag{
					App: key.app, Channel: key.channel, Has: has[key], Sequence: sequence,
				})
			}
		}
		slices.SortFunc(one.Lacking, func(a, b protocol.ChannelLag) int {
			return cmp.Or(cmp.Compare(b.Sequence-b.Has, a.Sequence-a.Has), cmp.Compare(a.App, b.App),
				cmp.Compare(a.Channel, b.Channel))
		})
		one.Lacking = one.Lacking[:min(len(one.Lacking), protocol.MaxLags)]
	}
	return len(highest)
}

// DrainNode drains a node of the fleet, or ends that, and returns its status. The name may be that of this node.
func (f *Fleet) DrainNode(ctx context.Context, name string, drain bool) (*protocol.NodeStatus, error) {
	if name == f.Node {
		f.recordDrain(f.Now())
		f.Drain(drain)
		status := f.Status()
		return &status, nil
	}
	for _, m := range f.gossip.Members() {
		if m.Name != name {
			continue
		}
		var answer protocol.NodeStatus
		in := protocol.Drain{Drain: drain, At: f.Now()}
		if err := f.RequestJSON(ctx, asMember(m), http.MethodPost, protocol.FleetDrainPath, in, &answer); err != nil {
			return nil, &protocol.Problem{
				Status: http.StatusBadGateway, Code: protocol.CodeUnavailable, Message: err.Error(),
			}
		}
		return &answer, nil
	}
	return nil, serve.Problem(protocol.CodeNotFound, "the fleet has no node "+name, "")
}
