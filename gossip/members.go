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

// members is the list of members, as memberlist reports them. Memberlist's own list cannot be read concurrently: it
// returns pointers to nodes that it changes.
type members struct {
	self     string
	toNotify chan struct{} // signals a change to notifyLoop
	toJoin   chan struct{} // signals a change to joinLoop
	count    atomic.Int64  // of members, this node included

	mu     sync.RWMutex
	others map[string]peer
}

// peer is another node: what it says of itself, and where memberlist reaches it.
type peer struct {
	member Member
	node   memberlist.Node
}

func (r *members) init(self string) {
	r.self = self
	r.toNotify, r.toJoin = make(chan struct{}, 1), make(chan struct{}, 1)
	r.others = map[string]peer{}
	r.count.Store(1)
}

// put adds a member or replaces what is known of it. Memberlist owns node, whose meta NotifyAlive has checked.
func (r *members) put(node *memberlist.Node) {
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
	signal(r.toNotify)
	signal(r.toJoin)
}

func (r *members) remove(name string) bool {
	r.mu.Lock()
	_, ok := r.others[name]
	delete(r.others, name)
	r.count.Store(int64(len(r.others)) + 1)
	r.mu.Unlock()
	signal(r.toNotify)
	signal(r.toJoin)
	return ok
}

// find returns another member.
func (r *members) find(name string) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.others[name]
	return p.member, ok
}

// countAt returns the number of other members with the address.
func (r *members) countAt(ip netip.Addr) int {
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

// node returns another member as memberlist needs it to send to it.
func (r *members) node(name string) (*memberlist.Node, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, ok := r.others[name]
	return &p.node, ok
}

func (r *members) list(self Member) []Member {
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

// size returns the number of members, this node included. It takes no lock: memberlist's queue calls it for every
// packet.
func (r *members) size() int { return int(r.count.Load()) }
