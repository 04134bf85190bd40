package origin

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/digest"
)

func idOf(n int) digest.Digest {
	return digest.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func drawMembers(t *rapid.T) []Member {
	names := rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,6}"), 1, 12, rapid.ID).Draw(t, "names")
	members := make([]Member, len(names))
	for i, name := range names {
		members[i] = Member{Name: name, Region: rapid.SampledFrom([]string{"eu", "us", "ap"}).Draw(t, "region")}
	}
	return members
}

func TestOrder_DependsOnlyOnTheMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		self, id := rapid.SampledFrom(members).Draw(t, "self"), idOf(rapid.Int().Draw(t, "id"))
		before := slices.Clone(members)
		order := Order(self, members, id)
		if diff := cmp.Diff(before, members); diff != "" {
			t.Fatalf("the members were changed:\n%s", diff)
		}
		shuffled := rapid.Permutation(members).Draw(t, "shuffled")
		if diff := cmp.Diff(order, Order(self, shuffled, id)); diff != "" {
			t.Fatalf("the order depends on the order of the members:\n%s", diff)
		}
		if len(order) != len(members)-1 || slices.Contains(order, self) {
			t.Fatalf("of %v, %s is to ask %v", members, self.Name, order)
		}
		if !slices.IsSortedFunc(order, func(a, b Member) int { return away(self, a) - away(self, b) }) {
			t.Fatalf("%s is to ask another region before its own: %v", self.Name, order)
		}
	})
}

func away(self, m Member) int {
	if m.Region == self.Region {
		return 0
	}
	return 1
}

// All nodes of a region must find the same owner, or each would fetch the bundle from outside.
func TestOrder_IsConsistentInARegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, id := drawMembers(t), idOf(rapid.Int().Draw(t, "id"))
		for _, self := range members {
			owner, ok := Owner(self.Region, members, id)
			if !ok || owner.Region != self.Region {
				t.Fatalf("region %s of %v has the owner %v, %t", self.Region, members, owner, ok)
			}
			if order := Order(self, members, id); self != owner && order[0] != owner {
				t.Fatalf("%s asks %s first, and not the owner %s", self.Name, order[0].Name, owner.Name)
			}
			// The first of each other region comes before the second of any.
			seen := map[string]bool{self.Region: true}
			for _, m := range Order(self, members, id) {
				if seen[m.Region] {
					continue
				}
				seen[m.Region] = true
				if first, _ := Owner(m.Region, members, id); m != first {
					t.Fatalf("of region %s, %s asks %s before the owner %s", m.Region, self.Name, m.Name, first.Name)
				}
			}
		}
	})
}

func TestOwner_OfNobody(t *testing.T) {
	if owner, ok := Owner("eu", []Member{{Name: "a", Region: "us"}}, idOf(1)); ok {
		t.Errorf("a region without members has the owner %v", owner)
	}
}

func TestOwner_NewMemberMovesOnlyItsShare(t *testing.T) {
	const bundles = 4000
	for _, n := range []int{1, 3, 10} {
		var members []Member
		for i := range n {
			members = append(members, Member{Name: fmt.Sprintf("node-%d", i), Region: "eu"})
		}
		more := append(slices.Clone(members), Member{Name: "newcomer", Region: "eu"})
		moved := 0
		for i := range bundles {
			before, _ := Owner("eu", members, idOf(i))
			after, _ := Owner("eu", more, idOf(i))
			if before == after {
				continue
			}
			if moved++; after.Name != "newcomer" {
				t.Fatalf("bundle %d moved from %s to %s, and neither came", i, before.Name, after.Name)
			}
		}
		// Binomial with p = 1/(n+1): five standard deviations are less than a quarter of the mean here.
		if want := bundles / (n + 1); moved < want*3/4 || moved > want*5/4 {
			t.Errorf("of %d bundles %d moved to the newcomer among %d, want about %d", bundles, moved, n+1, want)
		}
	}
}

// Which node owns what must not change with the version of the program.
func TestOrder_Golden(t *testing.T) {
	members := []Member{
		{Name: "a", Region: "eu"}, {Name: "b", Region: "eu"}, {Name: "c", Region: "eu"}, {Name: "d", Region: "us"}, {Name: "e", Region: "us"},
	}
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	var got []string
	for i := range 4 {
		text := ""
		for _, m := range Order(Member{Name: "a", Region: "eu"}, members, idOf(i)) {
			text += m.Name
		}
		got = append(got, text)
	}
	if diff := cmp.Diff([]string{"bcde", "bcde", "bced", "cbed"}, got); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
}
