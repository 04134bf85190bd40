package fleet

import (
	"slices"
	"sync"

	"brink/gossip"
	"brink/origin"
)

// membership is the members of the fleet.
type membership struct {
	name, region, url string // of this node

	gossip *gossip.Gossip

	mu   sync.Mutex
	next chan struct{} // closed at each change of members, and then replaced
}

// changed is called by package gossip when members join, leave or change.
func (m *membership) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.next)
	m.next = make(chan struct{})
}

// change returns a channel that is closed at the next change of members. Get the members after calling it, not before.
func (m *membership) change() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next
}

// starting reports whether this node knows of a member that does not serve yet.
func (m *membership) starting() bool {
	return slices.ContainsFunc(m.gossip.Members(), func(other gossip.Member) bool {
		return other.Name != m.name && other.State == gossip.Starting
	})
}

// Members returns the other members that serve.
func (m *membership) Members() []gossip.Member {
	members := m.gossip.Members()
	list := members[:0]
	for _, other := range members {
		if other.Name != m.name && other.URL != "" && other.State != gossip.Starting {
			list = append(list, other)
		}
	}
	return list
}

// Member returns the other member with that name, if it serves.
func (m *membership) Member(name string) (gossip.Member, bool) {
	for _, other := range m.Members() {
		if other.Name == name {
			return other, true
		}
	}
	return gossip.Member{}, false
}

// Self returns this node.
func (m *membership) Self() origin.Member {
	return origin.Member{Name: m.name, Region: m.region, URL: m.url}
}

// Others returns the other nodes that serve.
func (m *membership) Others() (list []origin.Member) {
	for _, other := range m.Members() {
		list = append(list, asMember(other))
	}
	return list
}

func asMember(m gossip.Member) origin.Member {
	return origin.Member{Name: m.Name, Region: m.Region, URL: m.URL}
}
