package fleet

import (
	"slices"

	"brink/digest"
	"brink/gossip"
	"brink/origin"
)

// maxAsked bounds the peers that are asked for one bundle in one round. Further ones would not have it either.
const maxAsked = 8

// Sources returns the other nodes to request a bundle from, in order: the region's owner, the one that is known to have
// it, the others of the region, other regions. Draining nodes come last.
func (f *Fleet) Sources(id digest.Digest) []origin.Source {
	self := f.Self()
	var members []origin.Member
	draining := map[string]bool{}
	for _, m := range f.Members() {
		members = append(members, asMember(m))
		draining[m.Name] = m.State == gossip.Draining
	}
	order := origin.Order(self, members, id)
	slices.SortStableFunc(order, func(a, b origin.Member) int { // draining nodes come last
		switch {
		case draining[a.Name] == draining[b.Name]:
			return 0
		case draining[a.Name]:
			return 1
		}
		return -1
	})
	if holder, ok := f.hinted(id); ok {
		order = origin.Insert(order, asMember(holder), origin.OwnersFirst(self, members, id))
	}
	var list []origin.Source
	for _, m := range order[:min(len(order), maxAsked)] {
		peer, err := origin.NewPeer(origin.PeerConfig{Name: m.Name, URL: m.URL, Ring: f.ring, HTTP: f.http})
		if err != nil {
			f.Logger.Debug("cannot request bundles from node", "node", m.Name, "error", err)
			continue
		}
		list = append(list, peer)
	}
	return list
}
