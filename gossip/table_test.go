package gossip

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestTable_IsTheHighestOfAllInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(drawPointer)).Draw(rt, "pointers")
		other := rapid.Permutation(list).Draw(rt, "in another order")
		var a, b pointerTable
		highest := map[key]Pointer{}
		for _, p := range list {
			former, ok := highest[p.key()]
			higher := !ok || p.Compare(former) > 0
			if higher {
				highest[p.key()] = p
			}
			if got := a.put(p); got != higher {
				rt.Errorf("put %v over %v: %v", p, former, got)
			}
		}
		for _, p := range other {
			b.put(p)
		}
		if a.getSums() != b.getSums() {
			rt.Error("the same pointers have different sums")
		}
		for k, p := range highest {
			if got, ok := a.get(k); !ok || got != p {
				rt.Errorf("%v is %v, want %v", k, got, p)
			}
		}
		if a.size() != len(highest) {
			rt.Errorf("%d pointers, want %d", a.size(), len(highest))
		}
		more := drawPointer(rt)
		if before := a.getSums(); a.put(more) == (a.getSums() == before) {
			rt.Errorf("putting %v does not show in the sums", more)
		}
	})
}

// Two nodes whose tables differ anyhow are the same after one exchange, whatever the order of their names and however
// many pages it takes, and each pointer travels in one direction.
func TestExchange_ReconcilesTwoTables(t *testing.T) {
	both := func(t *testing.T, a, b *Gossip) {
		t.Helper()
		for range 2 { // the order in which the two sides are heard does not matter
			for _, pair := range [][2]*Gossip{{a, b}, {b, a}} {
				s := pair[1].table.getSums()
				pair[0].receiveState(appendState(nil, &s, pair[1].config.Name))
			}
			for _, pair := range [][2]*Gossip{{a, b}, {b, a}, {a, b}} {
				deliver(t, pair[0], pair[1])
			}
		}
		if a.table.getSums() != b.table.getSums() {
			t.Errorf("tables of %d and %d pointers differ", a.table.size(), b.table.size())
		}
	}
	t.Run("few", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			a, b := loose("a"), loose("b")
			for _, p := range rapid.SliceOf(rapid.Custom(drawPointer)).Draw(rt, "of a") {
				a.table.put(p)
			}
			for _, p := range rapid.SliceOf(rapid.Custom(drawPointer)).Draw(rt, "of b") {
				b.table.put(p)
			}
			both(t, a, b)
		})
	})
	t.Run("many", func(t *testing.T) {
		a, b := loose("a"), loose("b")
		for i := range 5000 {
			a.table.put(manifest(fmt.Sprint("a", i), 1))
			b.table.put(manifest(fmt.Sprint("b", i), 1))
			a.table.put(manifest(fmt.Sprint("c", i), uint64(i%3)))
			b.table.put(manifest(fmt.Sprint("c", i), uint64(i%5)))
		}
		both(t, a, b)
	})
}

// loose is a Gossip that is not on any network; its table is filled by the tests.
func loose(name string) *Gossip {
	g := &Gossip{inbox: newInbox(), outbox: make(chan transfer, maxTransfers), config: Config{Name: name}}
	g.members.init(name)
	g.queue.NumNodes = g.members.size
	for _, other := range []string{"a", "b"} {
		if other != name {
			g.members.others[other] = peer{member: Member{Name: other}}
		}
	}
	return g
}

// deliver passes all transfers of one node to another, which stores what it receives at once.
func deliver(t *testing.T, from, to *Gossip) {
	for len(from.outbox) > 0 {
		for page := range from.pages(<-from.outbox) {
			if len(page) > maxPage {
				t.Errorf("page of %d bytes", len(page))
			}
			m, err := parseMessage(page)
			if err != nil {
				t.Error(err)
			}
			for _, s := range m.sections {
				m.pointers = append(m.pointers, s.pointers...)
			}
			for _, p := range m.pointers {
				if higher := to.table.put(p); m.kind == offerType && !higher {
					t.Errorf("%v was offered in vain", p)
				}
			}
			if m.kind == listType {
				to.enqueue(transfer{to: m.sender, answer: m.sections})
			}
		}
	}
}

// Being in sync costs the same for 10 pointers and for 10,000: the sums, and nothing else.
func TestFleet_CostOfBeingInSyncDoesNotGrow(t *testing.T) {
	perExchange := func(pointers int) (bytes, exchanges int64) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet()
			nodes := []*node{f.add("n0"), f.add("n1"), f.add("n2")}
			for _, n := range nodes {
				for i := range pointers {
					p := manifest(fmt.Sprint("app", i), 1)
					n.has[p.key()] = p
				}
				n.start(t)
			}
			f.await(t, f.whole)
			pass(10 * time.Second)
			before := nodes[1].gossip.Stats()
			pass(time.Hour)
			after := nodes[1].gossip.Stats()
			if after.Held != pointers || after.Reconciliations != 0 {
				t.Errorf("%+v", after)
			}
			bytes, exchanges = after.BytesOut-before.BytesOut, after.Exchanges-before.Exchanges
			f.stop()
		})
		return bytes / exchanges, exchanges
	}
	few, n := perExchange(10)
	many, m := perExchange(10_000)
	t.Logf("%d and %d bytes in each of %d and %d exchanges", few, many, n, m)
	if few != many || few != stateHead+1+2 {
		t.Errorf("%d bytes for 10 pointers, %d for 10,000, want %d", few, many, stateHead+1+2)
	}
}

// A node that was offline receives many pointers that the others have: it must not broadcast them again.
func TestFleet_NewcomerDoesNotBroadcastWhatOthersHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		n := f.add("n0")
		want := map[key]Pointer{}
		for i := range 10_000 {
			p := manifest(fmt.Sprint("app", i), 1)
			n.has[p.key()], want[p.key()] = p, p
			f.genuine[p] = true
		}
		n.start(t)
		late := f.add("n1")
		late.start(t)
		f.await(t, func() bool {
			if queued := late.gossip.Stats().Queued; queued > maxForwarded {
				f.breach("the newcomer has %d broadcasts under way", queued)
			}
			return late.gossip.Stats().Held == len(want)
		})
		if !f.holdAll(want) {
			t.Error("the newcomer holds something else")
		}
		f.stop()
	})
}
