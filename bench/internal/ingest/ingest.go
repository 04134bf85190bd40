// Package ingest measures publishing, beside tar | zstd of the same files.
//
// The life of one call: for each pair of releases of the corpus, [Measure] packs the first one with tar and zstd, and
// publishes it, the same again, and the second one to a new node.
//
// The invariant: publisher and node are separate processes, and each turn starts with an empty node.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"brink/bench/corpus"
	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/publish"
)

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	if err := process.Require("tar", "zstd", "sh"); err != nil {
		return nil, err
	}
	r := &report.Report{
		Title: "publishing beside tar | zstd",
		How:   how.Paragraphs("ingest", b.Turns),
	}
	t := report.Table{
		Title: "Time and bytes",
		Head:  []string{"files", "what", "time ms", "sent", "chunks sent", "publisher's memory"},
	}
	nodes := report.Table{
		Title: "The node, after the three publishes of a pair and what they made in the background",
		Head:  []string{"pair", "memory at most", "processor s"},
	}
	ratios := report.Table{Title: "Time beside tar | zstd", Head: []string{"files", "first publish ×", "unchanged ×"}}
	for _, pair := range corpus.Pairs() {
		p := &trial{run: b, pair: pair}
		for range b.Turns {
			if err := p.turn(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", pair, err)
			}
		}
		for _, what := range []string{"tar | zstd", "first publish", "unchanged", "next release"} {
			s := p.results[what]
			t.Add(pair.String(), what, report.Spread(s.times, 0), s.sent, s.chunks, report.MiB(s.peak))
		}
		nodes.Add(pair.String(), report.MiB(p.node.Peak), fmt.Sprintf("%.1f", p.node.Processor.Seconds()))
		first, tar := report.Median(p.results["first publish"].times), report.Median(p.results["tar | zstd"].times)
		ratios.Add(
			pair.Old.String(),
			fmt.Sprintf("%.1f", first/tar),
			fmt.Sprintf("%.2f", report.Median(p.results["unchanged"].times)/tar),
		)
	}
	r.Tables = []report.Table{t, ratios, nodes}
	return r, nil
}

// trial measures one pair of releases.
type trial struct {
	run     *testbed.Run
	pair    corpus.Pair
	results map[string]*result
	node    process.Usage // the maximum of all turns
}

// result is what was measured of one way.
type result struct {
	times  []float64 // milliseconds
	sent   string
	chunks string
	peak   int64
}

// record adds a turn of one way.
func (p *trial) record(what string, t process.Took, r publish.Result) {
	if p.results == nil {
		p.results = map[string]*result{}
	}
	s := p.results[what]
	if s == nil {
		s = &result{}
		p.results[what] = s
	}
	s.times = append(s.times, t.Seconds*1000)
	s.peak = max(s.peak, t.Peak)
	if r.Chunks > 0 {
		s.sent, s.chunks = report.Number(r.BytesSent), fmt.Sprintf("%d of %d", r.ChunksSent, r.Chunks)
	}
}

// turn publishes the pair to an empty node.
func (p *trial) turn(ctx context.Context) (err error) {
	oldFiles, err := testbed.FindRelease(p.pair.Old)
	if err != nil {
		return err
	}
	newFiles, err := testbed.FindRelease(p.pair.New)
	if err != nil {
		return err
	}
	s := &testbed.Testbed{Run: p.run}
	if s.Dir, err = os.MkdirTemp(p.run.Dir, "ingest-*"); err != nil {
		return err
	}
	packed, err := process.Time(ctx, s.Dir, "sh", "-c", `tar c -C "$0" . | zstd -q -3 -c > packed`, oldFiles)
	if err != nil {
		return err
	}
	p.record("tar | zstd", packed, publish.Result{})
	n, err := s.StartNewNode(ctx, "--prepare-wait", "0s")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Stop()) }()
	key, err := n.KeyFile(s.Dir)
	if err != nil {
		return err
	}
	for _, one := range []struct{ what, dir, version string }{
		{"first publish", oldFiles, p.pair.Old.Version},
		{"unchanged", oldFiles, p.pair.Old.Version},
		{"next release", newFiles, p.pair.New.Version},
	} {
		answer := filepath.Join(s.Dir, strings.ReplaceAll(one.what, " ", "-")+".json")
		t, err := process.Time(
			ctx,
			s.Dir,
			"sh",
			"-c",
			`exec "$0" "$@" > `+answer,
			p.run.Brink,
			"publish",
			one.dir,
			"--node",
			n.URL,
			"--key",
			key,
			"--trust",
			n.Trust,
			"--app",
			testbed.App,
			"--version",
			one.version,
			"--channel",
			"production",
			"--json",
		)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(answer)
		if err != nil {
			return err
		}
		var r publish.Result
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		p.record(one.what, t, r)
	}
	used := process.UsageOf(n.PID())
	p.node.Peak, p.node.Processor = max(p.node.Peak, used.Peak), max(p.node.Processor, used.Processor)
	return nil
}
