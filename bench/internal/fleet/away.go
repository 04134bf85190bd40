package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
)

// What a node misses: one publish to each channel of its fleet.
const (
	awayNodes    = 3
	awayChannels = 100
)

// catchUp measures how long a node that was away takes to get what it missed.
func (s *bench) catchUp(ctx context.Context, r *report.Report) (err error) {
	f, err := s.newNodes(ctx, awayNodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	t := report.Table{
		Title: fmt.Sprintf("A node comes back after %d channels moved: seconds from its start", awayChannels),
		Head:  []string{"turn", "store is open", "first channel", "half of them", "all", "load average"},
	}
	if err := f.moveAll(ctx, 0, awayNodes); err != nil {
		return err
	}
	var all []float64
	for turn := range s.Run.Turns {
		fmt.Fprintf(s.Run.Status, "fleet: a node is away, turn %d of %d\n", turn+1, s.Run.Turns)
		gone := awayNodes - 1
		if err := f.list[gone].stop(); err != nil {
			return err
		}
		if err := f.moveAll(ctx, turn+1, awayNodes-1); err != nil {
			return err
		}
		since := time.Now()
		one, err := f.start(gone, f.list[gone].data)
		if err != nil {
			f.list = f.list[:gone]
			return err
		}
		f.list[gone] = one
		opened := time.Since(since)
		list, err := collect(ctx, f.news, awayChannels, maxWait, func(h arrival) bool { return h.node == gone })
		if err != nil {
			return err
		}
		at := func(i int) string { return fmt.Sprintf("%.2f", list[i].at.Sub(since).Seconds()) }
		t.Add(report.Number(turn+1), fmt.Sprintf("%.2f", opened.Seconds()), at(0), at(len(list)/2), at(len(list)-1),
			process.LoadAverage())
		all = append(all, list[len(list)-1].at.Sub(since).Seconds())
	}
	t.Add("median", "", "", "", report.Spread(all, 2), "")
	r.Tables = append(r.Tables, t)
	return nil
}

// moveAll publishes to every channel once, and waits until all running nodes have it.
func (f *nodes) moveAll(ctx context.Context, turn, running int) error {
	for i := range awayChannels {
		build := uint64(1_000_000 + turn*awayChannels + i)
		if _, err := f.publish(ctx, 0, fmt.Sprintf("channel-%d", i), build, 0); err != nil {
			return err
		}
	}
	_, err := collect(ctx, f.news, awayChannels*running, maxWait, func(arrival) bool { return true })
	return err
}
