package origin

import (
	"cmp"
	"encoding/binary"
	"slices"

	"brink/digest"
)

// Member is a node of the fleet, as far as the order of asking goes.
type Member struct {
	Name   string // tells it from all others
	Region string
	URL    string // base URL of its HTTP
}

// Order returns the members to ask for a bundle, in order: the bundle's owner in the region of self, the others of that
// region, then those of other regions, the owners there first. self is not among them. It is rendezvous hashing
// (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998): every node that knows the same members
// finds the same owner, and a member that comes or goes moves only its own share.
//
// It is a pure function of its arguments, whatever the order of members, and changes none of them.
func Order(self Member, members []Member, id digest.Digest) []Member {
	type candidate struct {
		Member

		away  bool
		rank  int // within its own region
		score uint64
	}
	list := make([]candidate, 0, len(members))
	for _, m := range members {
		if m.Name != self.Name {
			list = append(list, candidate{Member: m, away: m.Region != self.Region, score: score(m.Name, id)})
		}
	}
	higher := func(a, b candidate) int {
		return cmp.Or(-cmp.Compare(a.score, b.score), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(list, higher)
	ranks := make(map[string]int)
	for i := range list {
		list[i].rank = ranks[list[i].Region]
		ranks[list[i].Region]++
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		switch {
		case a.away != b.away && b.away:
			return -1
		case a.away != b.away:
			return 1
		case a.away && a.rank != b.rank:
			return cmp.Compare(a.rank, b.rank)
		}
		return higher(a, b)
	})
	order := make([]Member, len(list))
	for i := range list {
		order[i] = list[i].Member
	}
	return order
}

// Owner returns the member of the region that is the first to fetch the bundle from outside it; false when the region
// has none.
func Owner(region string, members []Member, id digest.Digest) (Member, bool) {
	var owner Member
	var best uint64
	found := false
	for _, m := range members {
		if m.Region != region {
			continue
		}
		if s := score(m.Name, id); !found || s > best || s == best && m.Name < owner.Name {
			owner, best, found = m, s, true
		}
	}
	return owner, found
}

// score is how much a member wants a bundle. Names are hashed whole, so that similar ones have nothing in common.
func score(name string, id digest.Digest) uint64 {
	d := digest.Sum(append(id[:], name...))
	return binary.BigEndian.Uint64(d[:8])
}

// OwnersFirst returns how many members are asked before the one that is known to hold a bundle: the owner of the region
// of self, so that the bundle comes into the region once; none where self is the owner.
func OwnersFirst(self Member, members []Member, id digest.Digest) int {
	owner, ok := Owner(self.Region, append(slices.Clone(members), self), id)
	if !ok || owner.Name == self.Name {
		return 0
	}
	return 1
}

// Insert returns the order with one member at the place given, or nearer.
func Insert(order []Member, m Member, place int) []Member {
	moved := make([]Member, 0, len(order)+1)
	for i, other := range order {
		if other.Name == m.Name && i <= place {
			return order
		}
		if i == place {
			moved = append(moved, m)
		}
		if other.Name != m.Name {
			moved = append(moved, other)
		}
	}
	if len(order) <= place {
		moved = append(moved, m)
	}
	return moved
}
