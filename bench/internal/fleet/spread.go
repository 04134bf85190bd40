package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
)

// How the spread is measured.
const (
	publishesPerTurn = 10
	fullNodes        = 50 // in the largest fleet of whole nodes
	warmUp           = 2  // publishes that do not count: connections are opened, and states exchanged
	// gossipInterval is the time between the packets of gossip at its default pace.
	gossipInterval = 200 * time.Millisecond
	// packetTime is after how long packets about an announcement are no longer sent: nodes without it get it in an
	// exchange, or, with bare memberlist, never.
	packetTime = 5 * time.Second
)

// announcer is a fleet in which a node can announce something to all others.
type announcer interface {
	// announce lets one node announce something new, a different node in each round, and returns how long each of the
	// others took to get it. Nodes that will not get it any more are left out.
	announce(ctx context.Context, round int) ([]time.Duration, error)
	close() error
}

// way is one way to announce something to a number of nodes, and what was measured of it.
type way struct {
	name   string
	open   func() (announcer, error)
	others int             // nodes that should get it
	each   []time.Duration // until one node had it
	all    []time.Duration // until all nodes had it
	missed int             // publishes that some node did not get by packets
	fleet  announcer
}

// spread measures how long an announcement takes, in fleets of all sizes.
func (s *bench) spread(ctx context.Context, r *report.Report, publishes int) error {
	t := report.Table{
		Title: "Milliseconds until it is in force, p50 / p99",
		Head:  []string{"nodes", "way", "on one node", "on all nodes", "unheard", "load average"},
	}
	p := report.Plot{Name: "fleet-spread", Title: "Until all nodes have it, p99", Unit: "ms"}
	p.Series = []string{"bare memberlist", "gossip", "whole nodes"}
	for _, size := range []int{3, 10, fullNodes, 200} {
		fmt.Fprintf(s.Run.Status, "fleet: %d nodes\n", size)
		ways := s.ways(ctx, size)
		err := announceInTurns(ctx, ways, publishes)
		for _, w := range ways {
			if w.fleet != nil {
				err = errors.Join(err, w.fleet.close())
			}
		}
		if err != nil {
			return fmt.Errorf("%d nodes: %w", size, err)
		}
		g := report.Group{Name: report.Number(size) + " nodes", Values: []float64{-1, -1, -1}}
		load := process.LoadAverage()
		for i, w := range ways {
			t.Add(report.Number(size), w.name, report.Quantiles(w.each), report.Quantiles(w.all),
				fmt.Sprintf("%d of %d", w.missed, publishes), load)
			if i < len(g.Values) {
				g.Values[i] = float64(report.Quantile(w.all, 0.99)) / float64(time.Millisecond)
			}
		}
		p.Groups = append(p.Groups, g)
		if size == fullNodes {
			r.Aims = append(r.Aims, aimOf(size, ways))
		}
	}
	r.Tables, r.Plots = append(r.Tables, t), append(r.Plots, p)
	return nil
}

// aimOf compares whole nodes with the bare broadcast and one fill.
func aimOf(size int, ways []*way) report.Aim {
	bare, whole := report.Quantile(ways[0].all, 0.99), report.Quantile(ways[2].all, 0.99)
	fill := report.Quantile(ways[3].all, 0.5)
	limit := bare*3/2 + fill
	return report.Aim{
		What: fmt.Sprintf("in force on all of %d nodes, p99", size),
		Want: fmt.Sprintf("1.5 × %s ms of the bare broadcast + %s ms of a fill = %s ms",
			report.Millis(bare), report.Millis(fill), report.Millis(limit)),
		Got: fmt.Sprintf("%s ms, %.2f × the bare broadcast", report.Millis(whole), float64(whole)/float64(bare)),
		Met: whole <= limit,
	}
}

// ways returns the ways to compare for a size, the fastest possible one first.
func (s *bench) ways(ctx context.Context, size int) []*way {
	bare := func() (announcer, error) { return newMemberlists(size) }
	pointers := func() (announcer, error) { return newPointers(ctx, size) }
	whole := func() (announcer, error) { return s.newNodes(ctx, size) }
	pair := func() (announcer, error) { return s.newPair(ctx) }
	list := []*way{
		{name: "bare memberlist broadcast", others: size - 1, open: bare},
		{name: "gossip, nothing pulled", others: size - 1, open: pointers},
	}
	if size > fullNodes {
		return list
	}
	return append(list,
		&way{name: "whole nodes", others: size - 1, open: whole},
		&way{name: "one fill, asked for at once", others: 1, open: pair})
}

// announceInTurns makes announcements by each way in turns, publishes times and [warmUp] before.
func announceInTurns(ctx context.Context, ways []*way, publishes int) error {
	for _, w := range ways {
		var err error
		if w.fleet, err = w.open(); err != nil {
			w.fleet = nil
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	for round := range warmUp + publishes {
		for _, w := range ways {
			// All got the last announcement in one interval. The next one must not start at the same point of an interval.
			if err := wait(ctx, rand.N(gossipInterval)); err != nil {
				return err
			}
			took, err := w.fleet.announce(ctx, round+1)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round < warmUp {
				continue
			}
			w.each = append(w.each, took...)
			if len(took) < w.others || report.Quantile(took, 1) > packetTime {
				w.missed++
			}
			if len(took) == w.others {
				w.all = append(w.all, report.Quantile(took, 1))
			}
		}
	}
	return nil
}

// delays returns how long after since the others got something, for which it waits up to limit.
func delays(
	ctx context.Context, news <-chan arrival, others int, limit time.Duration, number uint64, since time.Time,
) ([]time.Duration, error) {
	list, err := collect(ctx, news, others, limit, func(h arrival) bool { return h.number == number })
	var took []time.Duration
	for _, h := range list {
		took = append(took, h.at.Sub(since))
	}
	return took, err
}
