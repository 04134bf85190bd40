package main

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
)

// coldKind is a kind of file that is read from a cold disk.
type coldKind struct {
	name  string
	count int
	size  int
}

func coldKinds() []coldKind { return []coldKind{{"64 KiB", 400, 64 << 10}, {"5 MB", 20, 5_000_000}} }

// coldConnections is how many files are asked for at the same time.
const coldConnections = 8

// coldStart starts a server on files that it has had before, and says which it is.
type coldStart struct {
	name  string
	start func(context.Context) (*server, error)
	seen  map[string][]coldTurn // by name of the kind of file
}

// coldTurn is what one turn has brought for one kind of file.
type coldTurn struct {
	rate  float64 // bytes a second
	times []time.Duration
}

// cold has each server send files that neither it nor the kernel has in memory. Varnish is left out: it has no disk.
func (s *site) cold(ctx context.Context, r *report.Report) (err error) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(s.bench.status, "peers: cold: left out: only root may empty the kernel's cache")
		return nil
	}
	s = &site{bench: s.bench, cores: s.cores}
	if s.dir, err = os.MkdirTemp(s.bench.dir, "cold-*"); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	s.files = filepath.Join(s.dir, "files")
	if err := os.Mkdir(s.files, 0o755); err != nil {
		return err
	}
	names := map[string][]string{}
	for _, k := range coldKinds() {
		for i := range k.count {
			name := fmt.Sprintf("%d-%d.bin", k.size, i)
			if err := writeNoise(filepath.Join(s.files, name), k.size); err != nil {
				return err
			}
			names[k.name] = append(names[k.name], name)
		}
	}
	brink, err := s.coldBrink(ctx)
	if err != nil {
		return err
	}
	starts := []*coldStart{{name: "Brink", start: brink}, {name: "nginx", start: s.nginx}}
	if process.Require("caddy") == nil {
		starts = append(starts, &coldStart{name: "Caddy", start: s.caddy})
	}
	for range s.bench.turns {
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
			for _, turn := range one.seen[k.name] {
				rates, times = append(rates, turn.rate/1e6), append(times, turn.times...)
			}
			t.Add(one.name, report.Spread(rates, 0), report.Millis(report.Quantile(times, 0.5)), report.Millis(report.Quantile(times, 0.99)))
		}
		r.Tables = append(r.Tables, t)
	}
	return nil
}

// coldBrink publishes the files to a node, stops it, and returns what starts it again.
func (s *site) coldBrink(ctx context.Context) (func(context.Context) (*server, error), error) {
	n, err := s.newNode()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	if err := s.run(ctx, n, data); err != nil {
		return nil, err
	}
	published, err := n.publish(ctx, s.files, "production", "1.0.0")
	if err == nil {
		err = process.WaitIdle(ctx, n.cmd.Process.Pid) // it makes what devices will ask for, and would again when it starts
	}
	if err := errors.Join(err, n.stop()); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*server, error) {
		if err := s.run(ctx, n, data); err != nil {
			return nil, err
		}
		_, err := untilReady(ctx, n.url, time.Now())
		if err == nil {
			err = process.WaitIdle(ctx, n.cmd.Process.Pid)
		}
		if err != nil {
			return nil, errors.Join(err, n.stop())
		}
		n.url += "/v1/bundles/" + published.Bundle.String() + "/files"
		return &n.server, nil
	}, nil
}

// turn starts the server, and has it send all files of each kind.
func (c *coldStart) turn(ctx context.Context, names map[string][]string) (err error) {
	v, err := c.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.stop()) }()
	if c.seen == nil {
		c.seen = map[string][]coldTurn{}
	}
	for _, k := range coldKinds() {
		// What is not on the disk yet cannot be dropped.
		syscall.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0o200); err != nil {
			return err
		}
		t, err := v.sendAll(ctx, names[k.name], k.size)
		if err != nil {
			return err
		}
		c.seen[k.name] = append(c.seen[k.name], t)
	}
	return nil
}

// sendAll asks for each file once, in any order.
func (v *server) sendAll(ctx context.Context, names []string, size int) (coldTurn, error) {
	client := believing()
	defer client.CloseIdleConnections()
	times := make([]time.Duration, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(coldConnections)
	start := time.Now()
	for at, i := range rand.Perm(len(names)) {
		group.Go(func() error {
			asked := time.Now()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+"/"+names[i], nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, resp.Body)
			times[at] = time.Since(asked)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK || n != int64(size) {
				return fmt.Errorf("%s answers %s with %s and %d bytes", v.name, names[i], resp.Status, n)
			}
			return nil
		})
	}
	err := group.Wait()
	return coldTurn{rate: float64(size*len(names)) / time.Since(start).Seconds(), times: times}, err
}
