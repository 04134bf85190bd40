// Package fleet measures nodes of one fleet: how long a publish takes to be in force on all of them, what a fleet at
// rest sends, and how long a node that was away takes to catch up.
//
// The life of one call: [Measure] starts fleets of several sizes, all in this process on loopback, and announces
// something new in each, in turns. A node of a fleet writes an arrival to a channel when it has it.
//
// The invariant: times are those at which a node had something, as it logged or received it, not those of a poll.
package fleet

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

// bench is one run of the part.
type bench struct{ testbed.Testbed }

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (r *report.Report, err error) {
	s := &bench{Testbed: testbed.Testbed{Run: b}}
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
	if err := s.spread(ctx, r, publishes); err != nil {
		return nil, fmt.Errorf("spread: %w", err)
	}
	if err := s.rest(ctx, r); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if err := s.catchUp(ctx, r); err != nil {
		return nil, fmt.Errorf("return: %w", err)
	}
	return r, nil
}

// arrival is the moment at which a node of a fleet got something.
type arrival struct {
	node   int
	number uint64 // what it got: a sequence
	at     time.Time
}

// maxWait bounds how long anything may take to reach all nodes of a fleet on one machine: three exchanges of 50 nodes.
const maxWait = 3 * time.Minute

// errIncomplete is the error of [collect] after its time limit.
var errIncomplete = errors.New("not all nodes have it")

// collect receives news until count arrivals have matched, and returns those. After limit it returns errIncomplete with
// those that it has.
func collect(
	ctx context.Context, news <-chan arrival, count int, limit time.Duration, match func(arrival) bool,
) (list []arrival, err error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for len(list) < count {
		select {
		case h := <-news:
			if match(h) {
				list = append(list, h)
			}
		case <-late.C:
			return list, fmt.Errorf("%w: %d of %d had it after %v", errIncomplete, len(list), count, limit)
		case <-ctx.Done():
			return list, ctx.Err()
		}
	}
	return list, nil
}

// movedLine is what a node logs when a manifest is durable, right before it is in force.
const movedLine = "channel moved"

// movedHandler is the log of a node, of which it only reads that channels moved.
type movedHandler struct {
	node int
	news chan<- arrival
}

// Enabled implements [slog.Handler].
func (h movedHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle implements [slog.Handler].
func (h movedHandler) Handle(_ context.Context, record slog.Record) error {
	if record.Message != movedLine {
		return nil
	}
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "sequence" {
			return true
		}
		h.news <- arrival{h.node, a.Value.Uint64(), record.Time}
		return false
	})
	return nil
}

// WithAttrs implements [slog.Handler].
func (h movedHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements [slog.Handler].
func (h movedHandler) WithGroup(string) slog.Handler { return h }
