package main

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

// ingest publishes the corpus, and packs the same files with tar and zstd.
func ingest(ctx context.Context, b *testbed.Run) (*report.Report, error) {
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
		p := &ingestPair{bench: b, pair: pair}
		for range b.Turns {
			if err := p.turn(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", pair, err)
			}
		}
		for _, what := range []string{"tar | zstd", "first publish", "unchanged", "next release"} {
			s := p.seen[what]
			t.Add(pair.String(), what, report.Spread(s.times, 0), s.sent, s.chunks, report.MiB(s.peak))
		}
		nodes.Add(pair.String(), report.MiB(p.node.Peak), fmt.Sprintf("%.1f", p.node.Processor.Seconds()))
		first, tar := report.Median(p.seen["first publish"].times), report.Median(p.seen["tar | zstd"].times)
		ratios.Add(
			pair.Old.String(),
			fmt.Sprintf("%.1f", first/tar),
			fmt.Sprintf("%.2f", report.Median(p.seen["unchanged"].times)/tar),
		)
	}
	r.Tables = []report.Table{t, ratios, nodes}
	return r, nil
}

// ingestPair is what was seen of one pair of releases.
type ingestPair struct {
	bench *testbed.Run
	pair  corpus.Pair
	seen  map[string]*ingestSeen
	node  process.Usage // the most of all turns
}

type ingestSeen struct {
	times  []float64 // milliseconds
	sent   string
	chunks string
	peak   int64
}

func (p *ingestPair) note(what string, t process.Took, r publish.Result) {
	if p.seen == nil {
		p.seen = map[string]*ingestSeen{}
	}
	s := p.seen[what]
	if s == nil {
		s = &ingestSeen{}
		p.seen[what] = s
	}
	s.times = append(s.times, t.Seconds*1000)
	s.peak = max(s.peak, t.Peak)
	if r.Chunks > 0 {
		s.sent, s.chunks = report.Number(r.BytesSent), fmt.Sprintf("%d of %d", r.ChunksSent, r.Chunks)
	}
}

// turn publishes the pair to a node that has nothing.
func (p *ingestPair) turn(ctx context.Context) (err error) {
	oldFiles, err := testbed.FindRelease(p.pair.Old)
	if err != nil {
		return err
	}
	newFiles, err := testbed.FindRelease(p.pair.New)
	if err != nil {
		return err
	}
	s := &testbed.Testbed{Run: p.bench}
	if s.Dir, err = os.MkdirTemp(p.bench.Dir, "ingest-*"); err != nil {
		return err
	}
	packed, err := process.Time(ctx, s.Dir, "sh", "-c", `tar c -C "$0" . | zstd -q -3 -c > packed`, oldFiles)
	if err != nil {
		return err
	}
	p.note("tar | zstd", packed, publish.Result{})
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
			p.bench.Brink,
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
		p.note(one.what, t, r)
	}
	used := process.UsageOf(n.PID())
	p.node.Peak, p.node.Processor = max(p.node.Peak, used.Peak), max(p.node.Processor, used.Processor)
	return nil
}
