package gossip

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"brink/digest"
)

// step is one thing that happens to a fleet.
type step struct {
	what     string
	node     int           // which it happens to
	app      int           // what is published or forged
	sequence uint64        // likewise
	split    uint64        // a bit for each node: the side it is on
	loss     float64       // of packets
	wait     time.Duration // afterwards
}

func drawSteps(t *rapid.T, nodes int) []step {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.SampledFrom([]string{
				"publish", "publish", "publish", "cut", "heal", "loss", "crash", "stop", "start", "move", "forge", "rest",
			}).Draw(t, "what"),
			node:     rapid.IntRange(0, nodes-1).Draw(t, "node"),
			app:      rapid.IntRange(0, 4).Draw(t, "app"),
			sequence: rapid.Uint64Range(1, 20).Draw(t, "sequence"),
			split:    rapid.Uint64().Draw(t, "split"),
			loss:     rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "loss"),
			wait:     time.Duration(rapid.IntRange(0, 60_000).Draw(t, "wait ms")) * time.Millisecond,
		}
	})
	return rapid.SliceOfN(one, 1, 20).Draw(t, "steps")
}

func (f *fleet) take(s step, list []*node) error {
	n := list[s.node]
	up := n.gossip != nil
	switch s.what {
	case "publish":
		if up {
			// Two nodes may publish different content with the same sequence.
			p := manifest(fmt.Sprint("app", s.app), s.sequence)
			p.Digest = digest.Sum(fmt.Appendf(nil, "%s %d", n.name, s.sequence))
			n.publish(p)
		}
	case "forge":
		if up { // a member that is not what it was tells of what nobody can check
			p := manifest(fmt.Sprint("app", s.app), 1000+s.sequence)
			p.Digest = digest.Sum(fmt.Appendf(nil, "forged by %s", n.name))
			n.gossip.broadcast(p, n.name)
		}
	case "cut":
		side := map[netip.AddrPort]int{}
		for i, n := range list {
			side[n.address] = int(s.split >> (i % 64) & 1)
		}
		f.cut(side)
	case "heal":
		f.cut(nil)
	case "loss":
		f.network.SetLoss(s.loss)
	case "crash":
		n.crash()
	case "stop":
		n.stop()
	case "move":
		if !up && s.node > 0 && s.node < len(list)-1 { // the first and the last are where the others look for them
			n.address = f.fresh()
		}
	case "start":
		if !up {
			if err := n.tryStart(); err != nil {
				return err
			}
		}
	}
	pass(s.wait)
	return nil
}

// live runs a fleet through its steps, heals it, and reports what it did not keep of its promises: all that run become
// members of each other again, and hold of every name the highest pointer that one of them had. A lower one never came
// in the place of a higher one, which the nodes themselves watch over.
func live(t *testing.T, nodes int, steps []step, all bool) (err error) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.network.SetDelay(10 * time.Millisecond)
		list := f.grow(t, nodes)
		f.config = func(c *Config) { c.Join = []string{list[0].address.String(), list[nodes-1].address.String()} }
		defer f.stop()
		for _, s := range steps {
			if err = f.take(s, list); err != nil {
				return
			}
		}
		f.cut(nil)
		f.network.SetLoss(0.05) // as networks are
		for _, n := range list {
			if n.gossip == nil && (all || n == list[0] || n == list[nodes-1]) {
				if err = n.tryStart(); err != nil {
					return
				}
			}
		}
		err = f.tryAwait(func() bool { return f.whole() && f.holdAll(f.highest()) })
	})
	return err
}

func TestFleet_HoldsTheHighestAfterWhateverHappened(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		nodes := rapid.IntRange(2, 5).Draw(rt, "nodes")
		steps := drawSteps(rt, nodes)
		all := rapid.Bool().Draw(rt, "all come back")
		if err := live(t, nodes, steps, all); err != nil {
			rt.Fatal(err)
		}
	})
}

// A partition that lasts until both sides have forgotten each other.
func TestFleet_GrowsTogetherAfterALongPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 6)
		f.cut(map[netip.AddrPort]int{nodes[0].address: 1, nodes[1].address: 1, nodes[2].address: 1})
		one, other := manifest("shop", 5), manifest("bank", 9)
		nodes[0].publish(one)
		nodes[5].publish(other)
		nodes[5].publish(manifest("shop", 4))
		pass(20 * time.Minute)
		for _, n := range nodes {
			if got := len(n.gossip.Members()); got != 3 {
				t.Errorf("%s has %d members in the partition, want 3", n.name, got)
			}
		}
		f.cut(nil)
		f.await(t, func() bool { return f.whole() && f.holdAll(wantAll(one, other)) })
		f.stop()
	})
}

func TestFleet_SpreadsUnderLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.network.SetDelay(10 * time.Millisecond)
		nodes := f.grow(t, 20)
		f.network.SetLoss(0.3)
		want := map[key]Pointer{}
		for i, n := range nodes {
			p := manifest(fmt.Sprint("app", i), uint64(i))
			want[p.key()] = p
			n.publish(p)
		}
		f.await(t, func() bool { return f.holdAll(want) })
		f.network.SetLoss(0)
		f.stop()
	})
}

// News goes from node to node, also over those that cannot take it themselves: one node alone tells a few members
// only. Packets tell nobody twice; exchanges, which are rare here, tell those who were not heard of or missed it.
func TestFleet_NewsIsPassedOn(t *testing.T) {
	const size = 40
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		told := make(chan string, 4*size)
		f.config = func(c *Config) {
			c.Pace.Exchange = limit / 3
			c.Fetch = func(context.Context, Member, Pointer) { told <- c.Name }
		}
		nodes := f.grow(t, size)
		pass(time.Second)
		synctest.Wait() // no exchange by which somebody joined is under way any more
		before := map[string]int64{}
		for _, n := range nodes {
			before[n.name] = n.gossip.Stats().Exchanges
		}
		nodes[0].publish(manifest("shop", 1))
		late := time.NewTimer(limit)
		defer late.Stop()
		heard, byPackets := map[string]bool{}, 0
		for len(heard) < size-1 {
			select {
			case name := <-told:
				synctest.Wait() // pages of an exchange may be read before it is counted
				if f.nodes[name].gossip.Stats().Exchanges == before[name] {
					byPackets++
					if heard[name] {
						t.Errorf("%s is told twice", name)
					}
				}
				heard[name] = true
			case <-late.C:
				t.Fatalf("%d of %d nodes are told", len(heard), size-1)
			}
		}
		if byPackets < (size-1)*3/4 {
			t.Errorf("%d of %d nodes are told by packets", byPackets, size-1)
		}
		f.stop()
	})
}

func TestFleet_Of50(t *testing.T) { large(t, most50) }

func TestFleet_Of200(t *testing.T) {
	if os.Getenv("BRINK_E2E") != "1" || testing.Short() {
		t.Skip("takes long: runs with BRINK_E2E=1, as `make e2e` does")
	}
	large(t, 200)
}

// large has a fleet lose a third of its packets, then be cut in two, then lose a fifth of its nodes.
func large(t *testing.T, size int) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.network.SetDelay(10 * time.Millisecond)
		nodes := f.grow(t, size)
		first := manifest("shop", 1)
		began := time.Now()
		nodes[size/2].publish(first)
		f.await(t, func() bool { return f.holdAll(wantAll(first)) })
		t.Logf("%d nodes hold it after %v", size, time.Since(began))
		f.network.SetLoss(0.3)
		second := manifest("shop", 2)
		began = time.Now()
		nodes[size-1].publish(second)
		f.await(t, func() bool { return f.holdAll(wantAll(second)) })
		t.Logf("with 30 %% loss after %v", time.Since(began))
		f.network.SetLoss(0)
		side := map[netip.AddrPort]int{}
		for i, n := range nodes {
			side[n.address] = i % 2
		}
		f.cut(side)
		one, other := manifest("shop", 3), manifest("bank", 1)
		nodes[0].publish(one)
		nodes[1].publish(other)
		pass(2 * time.Minute)
		f.cut(nil)
		began = time.Now()
		f.await(t, func() bool { return f.whole() && f.holdAll(wantAll(one, other)) })
		t.Logf("after a partition of 2 minutes: together and the same after %v", time.Since(began))
		began = time.Now()
		for _, n := range nodes[:size/5] {
			n.crash()
		}
		f.await(t, f.whole)
		t.Logf("%d crashes are known to all after %v", size/5, time.Since(began))
		f.stop()
	})
}
