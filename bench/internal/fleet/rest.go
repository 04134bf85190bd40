package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/bench/internal/report"
	"brink/gossip"
)

// How a fleet at rest is measured: over two exchanges of each node.
const (
	restNodes  = 10
	restSettle = 10 * time.Second // what joining sends
	restWindow = 60 * time.Second
)

// rest measures what fleets send that have nothing to announce, all at the same time.
func (s *bench) rest(ctx context.Context, r *report.Report) (err error) {
	counts := []int{10, 1_000, 10_000}
	var fleets []*restingFleet
	defer func() {
		for _, f := range fleets {
			err = errors.Join(err, f.close())
		}
	}()
	for _, channels := range counts {
		f, err := newRestingFleet(channels)
		if f != nil {
			fleets = append(fleets, f)
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(s.Run.Status, "fleet: %d nodes at rest, three times, for %v\n", restNodes, restWindow)
	if err := wait(ctx, restSettle); err != nil {
		return err
	}
	before := make([]traffic, len(fleets))
	for i, f := range fleets {
		if before[i], err = f.traffic(); err != nil {
			return err
		}
	}
	if err := wait(ctx, restWindow); err != nil {
		return err
	}
	t := report.Table{
		Title: "Bytes that a node sends at rest",
		Head:  []string{"channels", "bytes/s", "of them in packets", "in connections", "exchanges", "that differed"},
	}
	var rates []float64
	for i, f := range fleets {
		now, err := f.traffic()
		if err != nil {
			return err
		}
		share := restNodes * restWindow.Seconds()
		packets := float64(now.packets-before[i].packets) / share
		streams := float64(now.streams-before[i].streams) / share
		rates = append(rates, packets+streams)
		t.Add(report.Number(counts[i]),
			fmt.Sprintf("%.0f", packets+streams), fmt.Sprintf("%.0f", packets), fmt.Sprintf("%.0f", streams),
			report.Number(now.exchanges-before[i].exchanges), report.Number(now.differed-before[i].differed))
	}
	ratio := rates[len(rates)-1] / rates[0]
	r.Tables = append(r.Tables, t)
	r.Aims = append(r.Aims, report.Aim{
		What: "bytes at rest with 10,000 channels", Want: "1.2 × those with 10",
		Got: fmt.Sprintf("%.3f ×", ratio), Met: ratio <= 1.2,
	})
	return nil
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restingFleet is a fleet whose nodes all have the same pointers, of package gossip on counted sockets. No other part
// of a node sends anything to other nodes at rest.
type restingFleet struct {
	list             []*gossip.Gossip
	packets, streams atomic.Int64
	cancel           context.CancelFunc
	ended            chan error
}

// traffic is what a fleet has sent and exchanged since it was started.
type traffic struct{ packets, streams, exchanges, differed int64 }

// newRestingFleet starts a fleet. With an error it returns what must be closed, or nil.
func newRestingFleet(channels int) (*restingFleet, error) {
	f := &restingFleet{ended: make(chan error, restNodes)}
	var running context.Context
	running, f.cancel = context.WithCancel(context.Background())
	for i := range restNodes {
		sockets, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}})
		if err != nil {
			return f, err
		}
		port := sockets.GetAutoBindPort()
		address := fmt.Sprintf("127.0.0.1:%d", port)
		c := gossip.Config{
			Name: fmt.Sprintf("node-%d", i), Fleet: "bench", Bind: address, Advertise: address, URL: "http://" + address,
			Keys: [][]byte{make([]byte, gossip.KeySize)}, Transport: &metered{sockets, f},
		}
		if i > 0 {
			c.Join = []string{f.list[0].Self().Address}
		}
		g, err := gossip.New(c)
		if err != nil {
			return f, errors.Join(err, sockets.Shutdown())
		}
		for n := range channels {
			g.Announce(pointer(fmt.Sprintf("channel-%d", n), 1))
		}
		f.list = append(f.list, g)
		go func() { f.ended <- g.Run(running) }()
	}
	return f, nil
}

// traffic returns an error if not all nodes are members of each other.
func (f *restingFleet) traffic() (traffic, error) {
	t := traffic{packets: f.packets.Load(), streams: f.streams.Load()}
	for _, g := range f.list {
		stats := g.Stats()
		if stats.Members != len(f.list) {
			return t, fmt.Errorf("%d of %d nodes know each other", stats.Members, len(f.list))
		}
		t.exchanges += stats.Exchanges
		t.differed += stats.Reconciliations
	}
	return t, nil
}

func (f *restingFleet) close() error {
	f.cancel()
	var errs []error
	for range f.list {
		errs = append(errs, <-f.ended)
	}
	return errors.Join(errs...)
}
