package origin

import (
	"cmp"
	"encoding/binary"
	"slices"

	"brink/digest"
)

// Member is a node of the fleet, as far as [Order] needs to know it.
type Member struct {
	Name   string // unique
	Region string
	URL    string // base URL of its HTTP
}

// Order returns the other members in the order in which to request a bundle from them: first the bundle's owner in the
// region of self, then the others in that region, then those in other regions, owners first. It uses rendezvous hashing
// (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998): nodes that know the same members compute
// the same owner, and when a member joins or leaves, only its own share moves.
//
// It is pure, and does not depend on the order of members.
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

// Owner returns the owner of the bundle in the region, which is the first to fetch it from outside; false if the region
// has no members.
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

// score returns the rendezvous score of a member for a bundle. The whole name is hashed, so that the scores of similar
// names are unrelated.
func score(name string, id digest.Digest) uint64 {
	d := digest.Sum(append(id[:], name...))
	return binary.BigEndian.Uint64(d[:8])
}

// OwnersFirst returns how many members to try before one that is known to have a bundle: 1 for the owner in the region
// of self, so that the bundle is fetched into the region once, or 0 if self is the owner.
func OwnersFirst(self Member, members []Member, id digest.Digest) int {
	owner, ok := Owner(self.Region, append(slices.Clone(members), self), id)
	if !ok || owner.Name == self.Name {
		return 0
	}
	return 1
}

// Insert returns the order with m at index, or earlier if it was earlier.
func Insert(order []Member, m Member, index int) []Member {
	moved := make([]Member, 0, len(order)+1)
	for i, other := range order {
		if other.Name == m.Name && i <= index {
			return order
		}
		if i == index {
			moved = append(moved, m)
		}
		if other.Name != m.Name {
			moved = append(moved, other)
		}
	}
	if len(order) <= index {
		moved = append(moved, m)
	}
	return moved
}
