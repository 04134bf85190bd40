package gossip

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGossip_AnnouncedPointerReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 3)
		first, second := manifest("shop", 1), manifest("shop", 2)
		nodes[1].publish(first)
		f.await(t, func() bool { return f.holdAll(wantAll(first)) })
		nodes[2].publish(second)
		f.await(t, func() bool { return f.holdAll(wantAll(second)) })
		f.stop()
	})
}

func TestGossip_LowerPointerIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		n := f.grow(t, 1)[0]
		n.gossip.Announce(manifest("shop", 2))
		n.gossip.Announce(manifest("shop", 1))
		held, ok := n.gossip.Held(Manifest, "com.acme.shop/production")
		if !ok || held != manifest("shop", 2) {
			t.Errorf("held %v, %v", held, ok)
		}
		f.stop()
	})
}

func TestGossip_OfEqualSequencesTheLargerDigestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 3)
		lower, higher := manifest("shop", 7), manifest("shop", 7)
		lower.Digest[0], higher.Digest[0] = 1, 2
		nodes[0].publish(higher)
		nodes[1].publish(lower)
		f.await(t, func() bool { return f.holdAll(wantAll(higher)) })
		f.stop()
	})
}

func TestGossip_WorksAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.config = func(c *Config) { c.Join = []string{"10.9.9.9", "nobody.example:7000"}; c.Resolve = resolveNothing }
		n := f.add("n1")
		n.start(t)
		synctest.Wait() // it runs now, so what is published goes out at once, or would
		n.publish(manifest("shop", 1))
		pass(time.Hour)
		if diff := cmp.Diff([]string{"n1"}, names(n.gossip.Members())); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		if s := n.gossip.Stats(); s.Unheard < 60 || s.Queued != 1 {
			t.Errorf("after an hour alone: %+v, want attempts to join and one broadcast waiting", s)
		}
		f.stop()
	})
}

func resolveNothing(context.Context, string) ([]netip.Addr, error) { return nil, nil }

func TestGossip_StateAndMetaAreKnownToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.config = func(c *Config) { c.Region, c.Version = "eu", "1.2.3" }
		nodes := f.grow(t, 3)
		nodes[1].gossip.SetState(Ready)
		seen := func() bool {
			m, _ := nodes[2].gossip.members.find("n1")
			return m.State == Ready
		}
		f.await(t, seen)
		want := nodes[1].gossip.Self()
		got, _ := nodes[2].gossip.members.find("n1")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("n1 as n2 sees it (-want +got):\n%s", diff)
		}
		if want.Region != "eu" || want.Version != "1.2.3" || want.Address != nodes[1].address.String() {
			t.Errorf("self: %+v", want)
		}
		f.stop()
	})
}

func TestGossip_BlockedConsumerDoesNotHoldUpMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		blocked := make(chan struct{}, 100)
		f.config = func(c *Config) {
			if c.Name == "n1" {
				c.Fetch = func(ctx context.Context, _ Member, _ Pointer) { blocked <- struct{}{}; <-ctx.Done() }
			}
		}
		nodes := f.grow(t, 4)
		for i := range uint64(2 * maxBroadcasts) { // more than any queue holds
			nodes[0].publish(manifest("app"+string(rune('a'+i%20)), i))
		}
		for range fetchers {
			<-blocked
		}
		nodes[3].crash()
		f.await(t, f.whole)
		n := f.add("n4")
		n.start(t)
		f.await(t, f.whole)
		if got := len(blocked); got > 0 {
			t.Errorf("%d calls more than there are fetchers", got)
		}
		f.stop()
	})
}

func TestGossip_RestartAtAnotherAddressKeepsTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 3)
		nodes[2].publish(manifest("shop", 1))
		f.await(t, func() bool { return f.holdAll(wantAll(manifest("shop", 1))) })
		for _, end := range []func(){nodes[2].crash, nodes[2].stop} {
			end()
			nodes[2].address = f.fresh()
			nodes[2].start(t)
			f.await(t, func() bool {
				m, ok := nodes[1].gossip.members.find("n2")
				return ok && m.Address == nodes[2].address.String() && f.whole()
			})
		}
		f.stop()
	})
}

func TestGossip_SecondNodeOfANameIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 2)
		twin := f.add("n1")
		twin.start(t)
		late := time.NewTimer(limit)
		for nodes[0].gossip.Stats().Conflicts == 0 {
			select {
			case <-time.After(time.Second):
			case <-late.C:
				t.Fatal("nobody has noticed")
			}
		}
		if m, _ := nodes[0].gossip.members.find("n1"); m.Address != nodes[1].address.String() {
			t.Errorf("n1 is at %s, want at %s, where it was first", m.Address, nodes[1].address)
		}
		nodes[1].stop()
		f.stop()
	})
}

func TestGossip_LeavingIsKnownWithoutSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		nodes := f.grow(t, 3)
		nodes[2].stop()
		for _, n := range nodes[:2] {
			if got := names(n.gossip.Members()); len(got) != 2 {
				t.Errorf("%s has members %v when n2 has left", n.name, got)
			}
		}
		f.stop()
	})
}

func TestGossip_CloseWithoutRunEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		g, err := New(Config{Name: "n0", Fleet: "test", Keys: [][]byte{testKey(1)}, Transport: f.network.Transport(f.fresh())})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := g.Run(t.Context()); err == nil {
			t.Error("it runs after it was closed")
		}
		pass(time.Minute)
	})
}

// Over sockets, as in earnest, and on the clock of this machine.
func TestGossip_OverSockets(t *testing.T) {
	pace := Pace{Gossip: 10 * time.Millisecond, Exchange: time.Second}
	pulse := make(chan struct{}, 1)
	begin := func(name string, join ...string) (g *Gossip, end func()) {
		t.Helper()
		c := Config{
			Name: name, Fleet: "test", Bind: "127.0.0.1:0", Join: join, Keys: [][]byte{testKey(1)}, Pace: pace,
			Changed: func() { signal(pulse) },
		}
		c.Fetch = func(_ context.Context, _ Member, p Pointer) { g.Announce(p); signal(pulse) }
		g, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		return g, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	await := func(reached func() bool) {
		t.Helper()
		late := time.NewTimer(time.Minute)
		defer late.Stop()
		for !reached() {
			select {
			case <-pulse:
			case <-late.C:
				t.Fatal("not reached within a minute")
			}
		}
	}
	a, endA := begin("a")
	defer endA()
	p := manifest("shop", 1)
	a.Announce(p)
	b, endB := begin("b", a.Self().Address)
	await(func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 })
	await(func() bool { _, ok := b.Held(Manifest, p.Name); return ok })
	q := manifest("shop", 2)
	b.Announce(q)
	await(func() bool { held, _ := a.Held(Manifest, p.Name); return held == q })
	endB()
	await(func() bool { return len(a.Members()) == 1 })
}
