package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
)

// coldKind is a kind of file that is read from a cold disk.
type coldKind struct {
	name  string
	count int
	size  int
}

func coldKinds() []coldKind { return []coldKind{{"64 KiB", 400, 64 << 10}, {"5 MB", 20, 5_000_000}} }

// coldConnections is how many files are requested at the same time.
const coldConnections = 8

// coldStart is a server that is started on files that it has stored before, and its results.
type coldStart struct {
	name  string
	start func(context.Context) (*testbed.Server, error)
	turns map[string][]coldTurn // by name of the kind of file
}

// coldTurn is the result of one turn for one kind of file.
type coldTurn struct {
	rate  float64 // bytes a second
	times []time.Duration
}

// measureCold measures files that neither the server nor the kernel has in memory. Varnish is left out: it has no disk.
func (s *bench) measureCold(ctx context.Context, r *report.Report) (err error) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(s.Run.Status, "peers: cold: left out: only root may empty the kernel's cache")
		return nil
	}
	s = &bench{Testbed: testbed.Testbed{Run: s.Run, Cores: s.Cores}}
	if s.Dir, err = os.MkdirTemp(s.Run.Dir, "cold-*"); err != nil {
		return err
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	s.Files = filepath.Join(s.Dir, "files")
	if err := os.Mkdir(s.Files, 0o755); err != nil {
		return err
	}
	names := map[string][]string{}
	for _, k := range coldKinds() {
		for i := range k.count {
			name := fmt.Sprintf("%d-%d.bin", k.size, i)
			if err := writeNoise(filepath.Join(s.Files, name), k.size); err != nil {
				return err
			}
			names[k.name] = append(names[k.name], name)
		}
	}
	brink, err := s.prepareNode(ctx)
	if err != nil {
		return err
	}
	starts := []*coldStart{{name: "Brink", start: brink}, {name: "nginx", start: s.Nginx}}
	if process.Require("caddy") == nil {
		starts = append(starts, &coldStart{name: "Caddy", start: s.Caddy})
	}
	for range s.Run.Turns {
		for _, one := range starts {
			if err := one.turn(ctx, names); err != nil {
				return err
			}
		}
	}
	for _, k := range coldKinds() {
		t := report.Table{
			Title: fmt.Sprintf("%s, from a cold disk, each of %d files once, %d connections", k.name, k.count, coldConnections),
			Head:  []string{"server", "MB/s", "p50 ms", "p99 ms"},
		}
		for _, one := range starts {
			var rates []float64
			var times []time.Duration
			for _, turn := range one.turns[k.name] {
				rates, times = append(rates, turn.rate/1e6), append(times, turn.times...)
			}
			t.Add(one.name, report.Spread(rates, 0),
				report.Millis(report.Quantile(times, 0.5)), report.Millis(report.Quantile(times, 0.99)))
		}
		r.Tables = append(r.Tables, t)
	}
	return nil
}

// prepareNode publishes the files to a node, stops it, and returns a function that starts it again.
func (s *bench) prepareNode(ctx context.Context) (func(context.Context) (*testbed.Server, error), error) {
	n, err := s.NewNode()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.Dir, "data")
	if err := s.StartNode(ctx, n, data); err != nil {
		return nil, err
	}
	published, err := n.Publish(ctx, s.Files, "production", "1.0.0")
	if err == nil {
		err = process.WaitIdle(ctx, n.PID()) // it builds representations, and would go on with that at its next start
	}
	if err := errors.Join(err, n.Stop()); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*testbed.Server, error) {
		if err := s.StartNode(ctx, n, data); err != nil {
			return nil, err
		}
		_, err := n.WaitReady(ctx, time.Now())
		if err == nil {
			err = process.WaitIdle(ctx, n.PID())
		}
		if err != nil {
			return nil, errors.Join(err, n.Stop())
		}
		n.URL += "/v1/bundles/" + published.Bundle.String() + "/files"
		return &n.Server, nil
	}, nil
}

// turn starts the server and requests all files of each kind.
func (c *coldStart) turn(ctx context.Context, names map[string][]string) (err error) {
	v, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Stop()) }()
	if c.turns == nil {
		c.turns = map[string][]coldTurn{}
	}
	for _, k := range coldKinds() {
		// Only pages that are on the disk can be dropped.
		syscall.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200); err != nil {
			return err
		}
		t, err := requestAll(ctx, v, names[k.name], k.size)
		if err != nil {
			return err
		}
		c.turns[k.name] = append(c.turns[k.name], t)
	}
	return nil
}

// requestAll requests each file once, in random order.
func requestAll(ctx context.Context, v *testbed.Server, names []string, size int) (coldTurn, error) {
	web := testbed.NewClient()
	defer web.CloseIdleConnections()
	times := make([]time.Duration, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(coldConnections)
	start := time.Now()
	for at, i := range rand.Perm(len(names)) {
		group.Go(func() error {
			sent := time.Now()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL+"/"+names[i], nil)
			if err != nil {
				return err
			}
			resp, err := web.Do(req)
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, resp.Body)
			times[at] = time.Since(sent)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK || n != int64(size) {
				return fmt.Errorf("%s answers %s with %s and %d bytes", v.Name, names[i], resp.Status, n)
			}
			return nil
		})
	}
	err := group.Wait()
	return coldTurn{rate: float64(size*len(names)) / time.Since(start).Seconds(), times: times}, err
}
