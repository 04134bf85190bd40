package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"brink/bench/how"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
)

// fleetBench is one run of the part.
type fleetBench struct{ testbed.Testbed }

// fleet measures what nodes tell each other: how long a publish takes to be in force everywhere, what a fleet at rest
// sends, and how long a node that was away takes to have what it missed.
func fleet(ctx context.Context, b *testbed.Run) (r *report.Report, err error) {
	s := &fleetBench{Testbed: testbed.Testbed{Run: b}}
	if s.Dir, err = b.MemoryDir(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.Dir)) }()
	publishes := publishesPerTurn * b.Turns
	r = &report.Report{
		Title: "how news spreads between nodes, and what a fleet costs at rest",
		How: how.Paragraphs("fleet", publishes, fullNodes, restNodes, restWindow.Seconds(), awayNodes, awayChannels,
			b.Turns),
	}
	if err := s.spreads(ctx, r, publishes); err != nil {
		return nil, fmt.Errorf("spread: %w", err)
	}
	if err := s.rests(ctx, r); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if err := s.returns(ctx, r); err != nil {
		return nil, fmt.Errorf("return: %w", err)
	}
	return r, nil
}

// heard is that a node of a fleet has something now.
type heard struct {
	node   int
	number uint64 // of the news: a sequence
	at     time.Time
}

// patience bounds how long anything may take to reach all nodes of a fleet on one machine: three exchanges of 50 nodes.
const patience = 3 * time.Minute

// errLate is that not all that was waited for has come.
var errLate = errors.New("it did not come to all")

// gather takes in news until so many have come that count, and returns what came. It waits for limit at most, and
// returns errLate then.
func gather(
	ctx context.Context, news <-chan heard, count int, limit time.Duration, counts func(heard) bool,
) (list []heard, err error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for len(list) < count {
		select {
		case h := <-news:
			if counts(h) {
				list = append(list, h)
			}
		case <-late.C:
			return list, fmt.Errorf("%w: %d of %d had it after %v", errLate, len(list), count, limit)
		case <-ctx.Done():
			return list, ctx.Err()
		}
	}
	return list, nil
}

// movedLine is what a node logs when a manifest is durable, right before it comes into force.
const movedLine = "channel moved"

// ear is a log of a node that tells of nothing but channels that moved.
type ear struct {
	node int
	news chan<- heard
}

// Enabled implements [slog.Handler].
func (e ear) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements [slog.Handler].
func (e ear) Handle(_ context.Context, record slog.Record) error {
	if record.Message != movedLine {
		return nil
	}
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "sequence" {
			return true
		}
		e.news <- heard{e.node, a.Value.Uint64(), record.Time}
		return false
	})
	return nil
}

// WithAttrs implements [slog.Handler].
func (e ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements [slog.Handler].
func (e ear) WithGroup(string) slog.Handler { return e }
