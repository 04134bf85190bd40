package node

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
)

// statusWait bounds how long another node may take to say how it is.
const statusWait = 5 * time.Second

// status is what this node says of itself.
func (n *Node) status() protocol.NodeStatus {
	ready := n.health.check()
	s := protocol.NodeStatus{
		Version: n.config.Version,
		URL:     n.URL(),
		State:   gossip.Ready.String(),
		Reasons: ready.Reasons,
		Filling: n.filler.Progress().Missing + n.filler.Stats().Running,
	}
	if !ready.Ready {
		s.State = ready.Reasons[0]
	}
	if n.fleet != nil {
		self := n.fleet.gossip.Self()
		s.Node, s.Region, s.URL = self.Name, self.Region, self.URL
	}
	if stats, err := n.store.Stats(); err == nil {
		s.Bundles, s.Stored = stats.Bundles, stats.Stored
	}
	n.channels.each(func(m *channel.Manifest) {
		s.Channels = append(s.Channels, protocol.ChannelStatus{
			App: m.App, Channel: m.Channel, Sequence: m.Sequence, Renewal: m.Renewal(), Version: m.Release.Version,
		})
	})
	slices.SortFunc(s.Channels, func(a, b protocol.ChannelStatus) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Channel, b.Channel))
	})
	return s
}

// survey asks all nodes of the fleet how they are, and compares what they hold.
func (n *Node) survey(ctx context.Context) protocol.FleetStatus {
	self := protocol.FleetMember{NodeStatus: n.status()}
	if n.fleet == nil {
		self.Channels = nil
		return protocol.FleetStatus{Nodes: []protocol.FleetMember{self}, Channels: n.channels.count()}
	}
	var others []gossip.Member
	for _, m := range n.fleet.gossip.Members() {
		if m.Name != n.fleet.config.Node {
			others = append(others, m)
		}
	}
	nodes := make([]protocol.FleetMember, len(others)+1)
	nodes[0] = self
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	var asking sync.WaitGroup
	for i, m := range others {
		asking.Go(func() {
			one := &nodes[i+1]
			if err := n.askJSON(ctx, m, http.MethodGet, protocol.FleetStatusPath, nil, &one.NodeStatus); err != nil {
				one.Error = err.Error()
			}
			// Who it is and where, the fleet knows better than it says.
			one.Node, one.Region, one.URL = m.Name, m.Region, m.URL
			if one.Version = m.Version; one.State == "" {
				one.State = m.State.String()
			}
		})
	}
	asking.Wait()
	answer := protocol.FleetStatus{Fleet: n.fleet.config.Name, Nodes: nodes}
	answer.Channels = compare(nodes)
	slices.SortFunc(nodes, func(a, b protocol.FleetMember) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	return answer
}

// compare fills in what each node lacks of what any of them holds, and returns how many channels there are.
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

// serveFleet answers GET /fleet on the operators' listener.
func (n *Node) serveFleet(w http.ResponseWriter, r *http.Request) {
	n.answer(w, http.StatusOK, n.survey(r.Context()))
}

// serveDrain answers POST /fleet/drain?node=NAME&undo=… on the operators' listener: any node of the fleet can be named.
func (n *Node) serveDrain(w http.ResponseWriter, r *http.Request) {
	name, drain := r.URL.Query().Get("node"), r.URL.Query().Get("undo") == ""
	if n.fleet == nil || name == "" || name == n.fleet.config.Node {
		if n.fleet != nil {
			n.fleet.drainedAt(n.config.Now())
		}
		n.setDraining(drain)
		n.answer(w, http.StatusOK, n.status())
		return
	}
	for _, m := range n.fleet.gossip.Members() {
		if m.Name != name {
			continue
		}
		var answer protocol.NodeStatus
		question := protocol.Drain{Drain: drain, At: n.config.Now()}
		err := n.askJSON(r.Context(), m, http.MethodPost, protocol.FleetDrainPath, question, &answer)
		if err != nil {
			n.refuse(w, http.StatusBadGateway, protocol.CodeUnavailable, err.Error())
			return
		}
		n.answer(w, http.StatusOK, answer)
		return
	}
	n.refuse(w, http.StatusNotFound, protocol.CodeNotFound, "the fleet has no node "+name)
}

// refuse answers an operator with a problem.
func (n *Node) refuse(w http.ResponseWriter, status int, code, message string) {
	n.answer(w, status, protocol.Problem{Code: code, Message: message})
}

// setDraining makes the node say that it is not ready, or that it is again. It goes on answering all requests, but each
// connection ends with its next answer, so that clients open the next one elsewhere.
func (n *Node) setDraining(drain bool) {
	n.draining.Store(drain)
	if drain {
		n.health.enter(phaseDraining)
		n.tell(gossip.Draining)
		return
	}
	n.health.enter("")
	n.tell(gossip.Ready)
}

// tell tells the fleet what the node is doing.
func (n *Node) tell(state gossip.State) {
	if n.fleet != nil {
		n.fleet.gossip.SetState(state)
	}
}
