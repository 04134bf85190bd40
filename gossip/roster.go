package gossip

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"
)

// roster is the list of members, as memberlist reports them. Memberlist's own list cannot be read while it works: it
// hands out pointers to what it changes.
type roster struct {
	self    string
	changed chan struct{} // for the herald
	moved   chan struct{} // for the usher
	count   atomic.Int64  // of members, this node included

	mu     sync.RWMutex
	others map[string]peer
}

// peer is another node, as it presents itself and as memberlist can reach it.
type peer struct {
	member Member
	node   memberlist.Node
}

func (r *roster) init(self string) {
	r.self = self
	r.changed, r.moved = make(chan struct{}, 1), make(chan struct{}, 1)
	r.others = map[string]peer{}
	r.count.Store(1)
}

// enter takes in a new member, or what has changed of one. Node is memberlist's; NotifyAlive has checked its meta.
func (r *roster) enter(node *memberlist.Node) {
	if node.Name == r.self {
		return
	}
	p := peer{
		member: Member{Name: node.Name, Address: node.Address()},
		node:   memberlist.Node{Name: node.Name, Addr: slices.Clone(node.Addr), Port: node.Port},
	}
	if err := parseMeta(node.Meta, &p.member); err != nil {
		return
	}
	r.mu.Lock()
	r.others[node.Name] = p
	r.count.Store(int64(len(r.others)) + 1)
	r.mu.Unlock()
	wake(r.changed)
	wake(r.moved)
}

func (r *roster) remove(name string) bool {
	r.mu.Lock()
	_, ok := r.others[name]
	delete(r.others, name)
	r.count.Store(int64(len(r.others)) + 1)
	r.mu.Unlock()
	wake(r.changed)
	wake(r.moved)
	return ok
}

// find returns another member.
func (r *roster) find(name string) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.others[name]
	return p.member, ok
}

// at returns how many other members have an address.
func (r *roster) at(ip netip.Addr) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	count := 0
	for _, p := range r.others {
		if own, ok := netip.AddrFromSlice(p.node.Addr); ok && own.Unmap() == ip {
			count++
		}
	}
	return count
}

// node returns where memberlist reaches another member.
func (r *roster) node(name string) (*memberlist.Node, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.others[name]
	return &p.node, ok
}

func (r *roster) all(self Member) []Member {
	r.mu.RLock()
	list := make([]Member, 0, len(r.others)+1)
	for p := range maps.Values(r.others) {
		list = append(list, p.member)
	}
	r.mu.RUnlock()
	list = append(list, self)
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// size locks nothing: memberlist's queue asks for it on the path of every packet.
func (r *roster) size() int { return int(r.count.Load()) }
