package node

import (
	"cmp"
	"slices"

	"brink/channel"
	"brink/gossip"
	"brink/protocol"
)

// status returns the status of this node, for operators and other nodes.
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
		self := n.fleet.Self()
		s.Node, s.Region, s.URL = self.Name, self.Region, self.URL
	}
	if stats, err := n.store.Stats(); err == nil {
		s.Bundles, s.Stored = stats.Bundles, stats.Stored
	}
	n.state.Each(func(m *channel.Manifest) {
		s.Channels = append(s.Channels, protocol.ChannelStatus{
			App: m.App, Channel: m.Channel, Sequence: m.Sequence, Renewal: m.Renewal(), Version: m.Release.Version,
		})
	})
	slices.SortFunc(s.Channels, func(a, b protocol.ChannelStatus) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Channel, b.Channel))
	})
	return s
}

// setDraining makes the node report that it is not ready, or that it is ready again. A draining node answers all
// requests, but closes each connection after the next answer, so that clients open the next one to another node.
func (n *Node) setDraining(drain bool) {
	n.draining.Store(drain)
	if drain {
		n.health.setPhase(phaseDraining)
		n.announce(gossip.Draining)
		return
	}
	n.health.setPhase("")
	n.announce(gossip.Ready)
}

// announce announces the state of the node to the fleet, if there is one.
func (n *Node) announce(state gossip.State) {
	if n.fleet != nil {
		n.fleet.SetState(state)
	}
}
