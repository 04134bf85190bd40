package gossip

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"brink/gossip/gossiptest"
)

// BenchmarkSpread measures how long it takes until 50 nodes hold what one announces, at the default pace, on a network
// in memory without delay.
func BenchmarkSpread(b *testing.B) {
	const size = 50
	network := gossiptest.New()
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	taken := make(chan struct{}, size)
	pulse := make(chan struct{}, 1)
	f := newFleet()
	first := f.fresh()
	nodes := make([]*Gossip, size)
	for i := range nodes {
		address := first
		if i > 0 {
			address = f.fresh()
		}
		c := Config{
			Name: fmt.Sprintf("n%d", i), Fleet: "test", Keys: [][]byte{testKey(1)}, Transport: network.Transport(address),
			Join: []string{first.String()}, Changed: func() { signal(pulse) }, Pace: Pace{Leave: time.Second},
		}
		c.Fetch = func(_ context.Context, _ Member, p Pointer) { nodes[i].Announce(p); taken <- struct{}{} }
		g, err := New(c)
		if err != nil {
			b.Fatal(err)
		}
		nodes[i] = g
	}
	for _, g := range nodes {
		wait.Go(func() { _ = g.Run(ctx) })
	}
	for _, g := range nodes {
		for len(g.Members()) < size {
			<-pulse
		}
	}
	sequence := uint64(0)
	for b.Loop() {
		sequence++
		nodes[sequence%size].Announce(manifest("shop", sequence))
		for range size - 1 {
			<-taken
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/spread")
}

func BenchmarkTable_Put(b *testing.B) {
	var t pointerTable
	sequence := uint64(0)
	b.ReportAllocs()
	p := manifest("shop", 1)
	for b.Loop() {
		sequence++
		p.Sequence = sequence
		t.put(p)
	}
}
