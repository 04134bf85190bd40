package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/channel"
	"brink/protocol"
)

// scaleLoad is over how many connections the nodes are asked, unless the number itself is what is measured.
const scaleLoad = 8

// scale measures how a node changes with what it holds and with who is connected.
func scale(ctx context.Context, b *bench) (*report.Report, error) {
	if err := process.Require("wrk", "taskset"); err != nil {
		return nil, err
	}
	s := &site{bench: b}
	loaders, placement := s.place()
	r := &report.Report{
		Title: "how latency and memory grow",
		How:   how.Paragraphs("scale", scaleLoad, b.turns, b.seconds, placement, report.Number(b.stored)),
	}
	steps := []func(context.Context, *report.Report, []int) error{s.byBundles, s.byConnections, s.byFlight, s.byBytes}
	for _, step := range steps {
		if err := step(ctx, r, loaders); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// holding is a node on a store that the bench has filled with small bundles, each served by a channel of its own.
type holding struct {
	node
	dir   string
	ready time.Duration
	files string // lists of requests: for files, and for decisions
	check string
}

// hold starts a node that holds so many small bundles.
func (s *site) hold(ctx context.Context, bundles int) (h *holding, err error) {
	h = &holding{}
	if h.dir, err = s.bench.memory(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(h.dir))
		}
	}()
	s.dir = h.dir
	n, err := s.newNode()
	if err != nil {
		return nil, err
	}
	h.node = *n
	data := filepath.Join(h.dir, "data")
	if err := h.fill(ctx, data, bundles); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.run(ctx, &h.node, data); err != nil {
		return nil, err
	}
	if h.ready, err = untilReady(ctx, h.url, start); err == nil {
		err = process.WaitIdle(ctx, h.cmd.Process.Pid)
	}
	if err != nil {
		err = errors.Join(err, h.node.stop())
	}
	return h, err
}

func (h *holding) fill(ctx context.Context, data string, bundles int) (err error) {
	k, err := openStock(data, h.key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	var files, checks []wanted
	for i := range bundles {
		r, err := k.bundle(ctx, "1.0.0", smallFiles(uint64(i)))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("channel-%05d", i)
		m, err := k.channel(ctx, benchApp, name, r)
		if err != nil {
			return err
		}
		files = append(files, wanted{http.MethodGet, "/v1/bundles/" + r.Bundle.String() + "/files/assets/img.bin", ""})
		checks = append(checks, wanted{http.MethodPost, protocol.CheckPath(benchApp), fmt.Sprintf(
			`{"channel":%q,"seen":%q,"device":{"id":"device-%d","version":"1.0.0","bundle":%q}}`,
			name, m.Statement(), i, r.Bundle)})
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for _, list := range [][]wanted{files, checks} {
		dice.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	h.files, h.check = filepath.Join(h.dir, "files"), filepath.Join(h.dir, "checks")
	return errors.Join(writeRequests(h.files, files), writeRequests(h.check, checks))
}

func (h *holding) stop() error { return errors.Join(h.node.stop(), os.RemoveAll(h.dir)) }

// times loads a node by a list of requests in turns, and returns cells (requests a second, p50 and p99) and the median
// p99, all in milliseconds.
func (s *site) times(
	ctx context.Context, v *server, list string, connections int, loaders []int,
) ([]string, float64, error) {
	var seen []turn
	for range s.bench.turns {
		t, err := s.loadList(ctx, v, list, connections, loaders)
		if err != nil {
			return nil, 0, err
		}
		seen = append(seen, t)
	}
	slowest := of(seen, func(t turn) float64 { return t.P99 / 1000 })
	return []string{
		report.Spread(of(seen, turn.rate), 0),
		report.Spread(of(seen, func(t turn) float64 { return t.P50 / 1000 }), 2),
		report.Spread(slowest, 2),
	}, report.Median(slowest), nil
}

// byBundles measures nodes that hold ever more bundles.
func (s *site) byBundles(ctx context.Context, r *report.Report, loaders []int) error {
	t := report.Table{
		Title: "Bundles and channels in the store",
		Head: []string{
			"bundles", "ready ms", "resident", "checks /s", "p50 ms", "p99 ms", "files /s", "p50 ms", "p99 ms",
		},
	}
	p := report.Plot{Name: "scale-bundles", Title: "By bundles in the store", Unit: ""}
	p.Groups = []report.Group{{Name: "p99 of a check, ms"}, {Name: "p99 of a file, ms"}, {Name: "resident, MiB"}}
	for _, bundles := range []int{10, 100, 1_000, 10_000} {
		fmt.Fprintf(s.bench.status, "scale: %d bundles\n", bundles)
		cells, values, err := s.oneHolding(ctx, bundles, loaders)
		if err != nil {
			return err
		}
		t.Add(cells...)
		p.Series = append(p.Series, report.Number(bundles)+" bundles")
		for i, v := range values {
			p.Groups[i].Values = append(p.Groups[i].Values, v)
		}
	}
	r.Tables, r.Plots = append(r.Tables, t), append(r.Plots, p)
	return nil
}

func (s *site) oneHolding(ctx context.Context, bundles int, loaders []int) (cells []string, _ []float64, err error) {
	h, err := s.hold(ctx, bundles)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	resident := process.ResidentOf(h.cmd.Process.Pid)
	checks, slowCheck, err := s.times(ctx, &h.server, h.check, scaleLoad, loaders)
	if err != nil {
		return nil, nil, err
	}
	files, slowFile, err := s.times(ctx, &h.server, h.files, scaleLoad, loaders)
	if err != nil {
		return nil, nil, err
	}
	cells = append([]string{report.Number(bundles), fmt.Sprint(h.ready.Milliseconds()), report.MiB(resident)}, checks...)
	return append(cells, files...), []float64{slowCheck, slowFile, float64(resident) / (1 << 20)}, nil
}

// byBytes measures how long a node takes to be ready on a store of many bytes, which are not in the page cache.
func (s *site) byBytes(ctx context.Context, r *report.Report, _ []int) (err error) {
	if s.dir, err = os.MkdirTemp(s.bench.dir, "stored-*"); err != nil {
		return err
	}
	n, err := s.newNode()
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	bytes, err := fillBytes(ctx, data, n.key, int64(s.bench.stored)<<20)
	if err != nil {
		return err
	}
	t := report.Table{
		Title: "Time to be ready, by bytes in the store",
		Head:  []string{"stored", "bundles", "ready ms", "resident then"},
	}
	var times []float64
	var resident int64
	for range s.bench.turns {
		if err := forgetPages(data); err != nil {
			return err
		}
		start := time.Now()
		if err := s.run(ctx, n, data, "--quota", fmt.Sprintf("%dMiB", 4*s.bench.stored)); err != nil {
			return err
		}
		ready, err := untilReady(ctx, n.url, start)
		resident = process.ResidentOf(n.cmd.Process.Pid)
		if err := errors.Join(err, n.stop()); err != nil {
			return err
		}
		times = append(times, float64(ready.Microseconds())/1000)
	}
	t.Add(report.MiB(bytes), report.Number(bytes/storedBundle), report.Spread(times, 0), report.MiB(resident))
	r.Tables = append(r.Tables, t)
	return nil
}

// storedBundle is the size of the bundles that fill a store, in bytes.
const storedBundle = 8 << 20

// fillBytes fills a store with bundles that do not compress, each served by a channel of its own.
func fillBytes(ctx context.Context, data string, key channel.PrivateKey, bytes int64) (stored int64, err error) {
	k, err := openStock(data, key)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	source := rand.NewChaCha8([32]byte{9})
	for ; stored < bytes; stored += storedBundle {
		noise := make([]byte, storedBundle)
		_, _ = source.Read(noise) // it never fails
		r, err := k.bundle(ctx, "1.0.0", fstest.MapFS{"app.bin": {Data: noise}})
		if err != nil {
			return 0, err
		}
		if _, err := k.channel(ctx, benchApp, fmt.Sprintf("channel-%05d", stored/storedBundle), r); err != nil {
			return 0, err
		}
	}
	return stored, nil
}

// forgetPages has the kernel drop what it keeps of the files of a folder.
func forgetPages(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		return errors.Join(unix.Fsync(int(file.Fd())), unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
	})
}
