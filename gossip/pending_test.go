package gossip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/digest"
)

// asked tries all claims of w, each in vain, and returns which members were asked for which sequences.
func asked(w *pending) (from []string, sequences []uint64) {
	for {
		w.mu.Lock()
		m, p, ok := w.tryNext()
		w.mu.Unlock()
		if !ok {
			return from, sequences
		}
		from, sequences = append(from, m.Name), append(sequences, p.Sequence)
		w.done(p.key())
	}
}

// testPending returns a pending with members m0 to m9; those with even numbers are in region eu.
func testPending(held *pointerTable, region string) *pending {
	better := func(p Pointer) bool { former, ok := held.get(p.key()); return !ok || p.Compare(former) > 0 }
	find := func(name string) (Member, bool) {
		m := Member{Name: name, Region: "us"}
		if len(name) == 2 && name[1]%2 == 0 {
			m.Region = "eu"
		}
		return m, name != "gone"
	}
	return newPending(better, find, region)
}

func TestPending_PrefersTheHighestThenTheNearest(t *testing.T) {
	w := testPending(&pointerTable{}, "eu")
	for holder, sequence := range map[string]uint64{"m1": 9, "m2": 9, "m3": 5, "gone": 11} {
		w.add(manifest("shop", sequence), holder, fromBroadcast)
	}
	from, sequences := asked(w)
	if diff := cmp.Diff([]string{"m2", "m1", "m3"}, from); diff != "" {
		t.Errorf("asked %v for %v (-want +got):\n%s", from, sequences, diff)
	}
}

func TestPending_LatestOfAMemberWins(t *testing.T) {
	w := testPending(&pointerTable{}, "")
	for _, sequence := range []uint64{1, 3, 2} {
		w.add(manifest("shop", sequence), "m1", fromBroadcast)
	}
	if _, sequences := asked(w); !slices.Equal(sequences, []uint64{3}) {
		t.Errorf("asked for %v, want for 3", sequences)
	}
}

func TestPending_TriedClaimWaitsForAnExchange(t *testing.T) {
	w := testPending(&pointerTable{}, "")
	p := manifest("shop", 1)
	news, _ := w.add(p, "m1", fromBroadcast)
	if from, _ := asked(w); !news || len(from) != 1 {
		t.Errorf("news: %v, asked %v", news, from)
	}
	news, _ = w.add(p, "m1", fromBroadcast)
	if from, _ := asked(w); news || len(from) != 0 {
		t.Errorf("a copy of the broadcast is news: %v, asked %v", news, from)
	}
	news, _ = w.add(p, "m2", fromBroadcast)
	if from, _ := asked(w); news || !slices.Equal(from, []string{"m2"}) {
		t.Errorf("another holder is news: %v, asked %v", news, from)
	}
	news, _ = w.add(p, "m1", fromExchange)
	if from, _ := asked(w); news || !slices.Equal(from, []string{"m1"}) {
		t.Errorf("an exchange is news: %v, asked %v", news, from)
	}
}

func TestPending_FetchesANameOnceAtATime(t *testing.T) {
	w := testPending(&pointerTable{}, "")
	w.add(manifest("shop", 1), "m1", fromBroadcast)
	_, p, _ := w.next(t.Context())
	w.add(manifest("shop", 2), "m2", fromBroadcast)
	w.add(manifest("bank", 1), "m2", fromBroadcast)
	if _, q, _ := w.next(t.Context()); q.Name != manifest("bank", 1).Name {
		t.Errorf("%v is asked for while %v is", q, p)
	}
	if len(w.ready) > 0 {
		t.Errorf("%v are in line", w.ready)
	}
	w.done(p.key())
	if _, q, _ := w.next(t.Context()); q != manifest("shop", 2) {
		t.Errorf("then %v, want what was heard meanwhile", q)
	}
}

func TestPending_DropsWhatTheNodeHas(t *testing.T) {
	held := &pointerTable{}
	w := testPending(held, "")
	p := manifest("shop", 2)
	w.add(manifest("shop", 1), "m1", fromBroadcast)
	w.add(p, "m2", fromBroadcast)
	held.put(p)
	w.recordHeld(p)
	if from, _ := asked(w); len(from) > 0 || w.size() != 0 {
		t.Errorf("asked %v, %d names are left", from, w.size())
	}
}

func TestPending_IsBounded(t *testing.T) {
	w := testPending(&pointerTable{}, "")
	for i := range maxPending {
		w.add(manifest(fmt.Sprint("app", i), 1), "m1", fromBroadcast)
	}
	if _, room := w.add(manifest("over", 1), "m1", fromBroadcast); room {
		t.Error("there is room for one more")
	}
	asked(w) // all rest now
	if _, room := w.add(manifest("over", 1), "m1", fromBroadcast); !room || w.size() != maxPending {
		t.Errorf("no room although others rest; %d names", w.size())
	}
	for i := range 3 * maxClaims {
		w.add(manifest("over", uint64(i)), fmt.Sprintf("holder%d", i), fromBroadcast)
	}
	_, sequences := asked(w)
	if len(sequences) > maxClaims || sequences[0] != 3*maxClaims-1 {
		t.Errorf("asked for %v, want at most %d, the highest first", sequences, maxClaims)
	}
}

// A member tells of something that nobody can get, ever higher: it must neither hide what others hold, nor circulate.
func TestFleet_ForgedPointersHideAndMultiplyNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 8)
		for i := range uint64(20) {
			forged := manifest("shop", 1000+i)
			forged.Digest = digest.Sum([]byte("forged"))
			nodes[7].gossip.table.put(forged) // so that it says so in exchanges, too
			nodes[7].gossip.broadcast(forged, "n7")
			pass(10 * time.Second)
		}
		p := manifest("shop", 1)
		nodes[0].publish(p)
		rest := nodes[:7]
		f.await(t, func() bool {
			for _, n := range rest {
				if held, _ := n.gossip.Held(p.Kind, p.Name); held != p {
					return false
				}
			}
			return true
		})
		pass(time.Minute)
		for _, n := range nodes {
			if s := n.gossip.Stats(); s.Queued > 0 {
				t.Errorf("%s still has %d broadcasts", n.name, s.Queued)
			}
		}
		f.stop()
	})
}

func TestFleet_NextHolderIsAskedWhenTheFirstIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 5)
		p := manifest("shop", 1)
		// Only n1 gets it from n0, which then can be asked no more, though it is a member still.
		f.mu.Lock()
		f.side = map[netip.AddrPort]int{nodes[2].address: 1, nodes[3].address: 1, nodes[4].address: 1}
		f.mu.Unlock()
		nodes[0].publish(p)
		f.await(t, func() bool { return nodes[1].count() == 1 })
		f.mu.Lock()
		f.side = map[netip.AddrPort]int{nodes[0].address: 1}
		f.mu.Unlock()
		f.await(t, func() bool { return f.holdAll(wantAll(p)) })
		f.stop()
	})
}
