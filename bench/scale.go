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
	"brink/bench/internal/testbed"
	"brink/channel"
	"brink/protocol"
)

// scaleLoad is over how many connections the nodes are asked, unless the number itself is what is measured.
const scaleLoad = 8

// scaleBench is one run of the part.
type scaleBench struct {
	testbed.Testbed

	loaders []int // processors of the load; empty: all
}

// scale measures how a node changes with what it holds and with who is connected.
func scale(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	if err := process.Require("wrk", "taskset"); err != nil {
		return nil, err
	}
	s := &scaleBench{Testbed: testbed.Testbed{Run: b}}
	var placement string
	s.loaders, placement = s.Place()
	r := &report.Report{
		Title: "how latency and memory grow",
		How:   how.Paragraphs("scale", scaleLoad, b.Turns, b.Seconds, placement, report.Number(b.Stored)),
	}
	steps := []func(context.Context, *report.Report) error{s.byBundles, s.byConnections, s.byFlight, s.byBytes}
	for _, step := range steps {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// holding is a node on a store that the bench has filled with small bundles, each served by a channel of its own.
type holding struct {
	testbed.Node
	dir   string
	ready time.Duration
	files string // lists of requests: for files, and for decisions
	check string
}

// hold starts a node that holds so many small bundles.
func (s *scaleBench) hold(ctx context.Context, bundles int) (h *holding, err error) {
	h = &holding{}
	if h.dir, err = s.Run.MemoryDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(h.dir))
		}
	}()
	s.Dir = h.dir
	n, err := s.NewNode()
	if err != nil {
		return nil, err
	}
	h.Node = *n
	data := filepath.Join(h.dir, "data")
	if err := h.fill(ctx, data, bundles); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.StartNode(ctx, &h.Node, data); err != nil {
		return nil, err
	}
	if h.ready, err = h.WaitReady(ctx, start); err == nil {
		err = process.WaitIdle(ctx, h.PID())
	}
	if err != nil {
		err = errors.Join(err, h.Node.Stop())
	}
	return h, err
}

func (h *holding) fill(ctx context.Context, data string, bundles int) (err error) {
	k, err := testbed.OpenStock(data, h.Key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	var files, checks []testbed.Request
	for i := range bundles {
		r, err := k.AddBundle(ctx, "1.0.0", testbed.SmallFiles(uint64(i)))
		if err != nil {
			return err
		}
		name := fmt.Sprintf("channel-%05d", i)
		m, err := k.AddChannel(ctx, testbed.App, name, r)
		if err != nil {
			return err
		}
		files = append(files, testbed.Request{Method: http.MethodGet, Path: "/v1/bundles/" + r.Bundle.String() + "/files/assets/img.bin", Body: ""})
		checks = append(checks, testbed.Request{Method: http.MethodPost, Path: protocol.CheckPath(testbed.App), Body: fmt.Sprintf(
			`{"channel":%q,"seen":%q,"device":{"id":"device-%d","version":"1.0.0","bundle":%q}}`,
			name, m.Statement(), i, r.Bundle)})
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for _, list := range [][]testbed.Request{files, checks} {
		dice.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	h.files, h.check = filepath.Join(h.dir, "files"), filepath.Join(h.dir, "checks")
	return errors.Join(testbed.WriteRequests(h.files, files), testbed.WriteRequests(h.check, checks))
}

func (h *holding) stop() error { return errors.Join(h.Node.Stop(), os.RemoveAll(h.dir)) }

// times loads a node by a list of requests in turns, and returns cells (requests a second, p50 and p99) and the median
// p99, all in milliseconds.
func (s *scaleBench) times(
	ctx context.Context, v *testbed.Server, list string, connections int,
) ([]string, float64, error) {
	var seen testbed.Turns
	for range s.Run.Turns {
		t, err := s.LoadList(ctx, v, list, connections, s.loaders)
		if err != nil {
			return nil, 0, err
		}
		seen = append(seen, t)
	}
	return []string{
		report.Spread(seen.Rates(), 0),
		report.Spread(seen.P50s(), 2),
		report.Spread(seen.P99s(), 2),
	}, report.Median(seen.P99s()), nil
}

// byBundles measures nodes that hold ever more bundles.
func (s *scaleBench) byBundles(ctx context.Context, r *report.Report) error {
	t := report.Table{
		Title: "Bundles and channels in the store",
		Head: []string{
			"bundles", "ready ms", "resident", "checks /s", "p50 ms", "p99 ms", "files /s", "p50 ms", "p99 ms",
		},
	}
	p := report.Plot{Name: "scale-bundles", Title: "By bundles in the store", Unit: ""}
	p.Groups = []report.Group{{Name: "p99 of a check, ms"}, {Name: "p99 of a file, ms"}, {Name: "resident, MiB"}}
	for _, bundles := range []int{10, 100, 1_000, 10_000} {
		fmt.Fprintf(s.Run.Status, "scale: %d bundles\n", bundles)
		cells, values, err := s.oneHolding(ctx, bundles)
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

func (s *scaleBench) oneHolding(ctx context.Context, bundles int) (cells []string, _ []float64, err error) {
	h, err := s.hold(ctx, bundles)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	resident := process.ResidentOf(h.PID())
	checks, slowCheck, err := s.times(ctx, &h.Server, h.check, scaleLoad)
	if err != nil {
		return nil, nil, err
	}
	files, slowFile, err := s.times(ctx, &h.Server, h.files, scaleLoad)
	if err != nil {
		return nil, nil, err
	}
	cells = append([]string{report.Number(bundles), fmt.Sprint(h.ready.Milliseconds()), report.MiB(resident)}, checks...)
	return append(cells, files...), []float64{slowCheck, slowFile, float64(resident) / (1 << 20)}, nil
}

// byBytes measures how long a node takes to be ready on a store of many bytes, which are not in the page cache.
func (s *scaleBench) byBytes(ctx context.Context, r *report.Report) (err error) {
	if s.Dir, err = os.MkdirTemp(s.Run.Dir, "stored-*"); err != nil {
		return err
	}
	n, err := s.NewNode()
	if err != nil {
		return err
	}
	data := filepath.Join(s.Dir, "data")
	bytes, err := fillBytes(ctx, data, n.Key, int64(s.Run.Stored)<<20)
	if err != nil {
		return err
	}
	t := report.Table{
		Title: "Time to be ready, by bytes in the store",
		Head:  []string{"stored", "bundles", "ready ms", "resident then"},
	}
	var times []float64
	var resident int64
	for range s.Run.Turns {
		if err := forgetPages(data); err != nil {
			return err
		}
		start := time.Now()
		if err := s.StartNode(ctx, n, data, "--quota", fmt.Sprintf("%dMiB", 4*s.Run.Stored)); err != nil {
			return err
		}
		ready, err := n.WaitReady(ctx, start)
		resident = process.ResidentOf(n.PID())
		if err := errors.Join(err, n.Stop()); err != nil {
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
	k, err := testbed.OpenStock(data, key)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	source := rand.NewChaCha8([32]byte{9})
	for ; stored < bytes; stored += storedBundle {
		noise := make([]byte, storedBundle)
		_, _ = source.Read(noise) // it never fails
		r, err := k.AddBundle(ctx, "1.0.0", fstest.MapFS{"app.bin": {Data: noise}})
		if err != nil {
			return 0, err
		}
		if _, err := k.AddChannel(ctx, testbed.App, fmt.Sprintf("channel-%05d", stored/storedBundle), r); err != nil {
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
