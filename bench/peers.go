package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
)

// object is one size of file that all servers serve.
type object struct {
	name        string
	file        string
	size        int64
	connections int
}

func objects() []object {
	return []object{
		{"1 KiB", "1k.bin", 1 << 10, 32},
		{"64 KiB", "64k.bin", 64 << 10, 32},
		{"5 MB", "5m.bin", 5_000_000, 8},
	}
}

// peers loads Brink and its peers in turns.
func peers(ctx context.Context, b *bench) (*report.Report, error) {
	if err := process.Require("wrk", "nginx", "taskset"); err != nil {
		return nil, err
	}
	s := &site{bench: b}
	loaders, placement := s.place()
	r := &report.Report{
		Title: "the same bytes from Brink and from its peers",
		How:   how.Paragraphs("peers", b.turns, b.seconds, placement),
	}
	for _, tls := range []bool{false, true} {
		if err := s.compare(ctx, r, loaders, tls); err != nil {
			return nil, err
		}
	}
	return r, s.cold(ctx, r)
}

// writeNoise writes a file that nothing can compress.
func writeNoise(path string, size int) error {
	noise := make([]byte, size)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	return os.WriteFile(path, noise, 0o644)
}

// place keeps servers and load apart, if that is wanted and possible, and returns the processors of the load, and what
// to say of it.
func (s *site) place() (loaders []int, placement string) {
	if !s.bench.pin || runtime.NumCPU() < 2 {
		return nil, "servers and load share all processors"
	}
	for core := range runtime.NumCPU() {
		if core < runtime.NumCPU()/2 {
			s.cores = append(s.cores, core)
		} else {
			loaders = append(loaders, core)
		}
	}
	return loaders, fmt.Sprintf("servers on %d of the processors, the load on the other %d, by taskset",
		len(s.cores), len(loaders))
}

// compare loads all servers, over TLS or not, and adds what it sees to the report.
func (s *site) compare(ctx context.Context, r *report.Report, loaders []int, tls bool) (err error) {
	s.tls = tls
	if s.dir, err = os.MkdirTemp(s.bench.dir, "peers-*"); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	s.files = filepath.Join(s.dir, "files")
	if err := os.Mkdir(s.files, 0o755); err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, o := range objects() {
		if err := writeNoise(filepath.Join(s.files, o.file), int(o.size)); err != nil {
			return err
		}
		sizes[o.file] = o.size
	}
	kind := "plain"
	if tls {
		kind = "TLS 1.3"
		if s.cert, s.key, err = certificate(s.dir); err != nil {
			return err
		}
	}
	servers, err := s.all(ctx)
	defer func() {
		for _, v := range servers {
			err = errors.Join(err, v.stop())
		}
	}()
	if err != nil {
		return err
	}
	names := make([]string, len(servers))
	for i, v := range servers {
		names[i] = v.name
		if err := v.warm(ctx, believing(), sizes); err != nil {
			return err
		}
	}
	p := report.Plot{
		Name:   "peers-" + strings.ToLower(strings.Fields(kind)[0]),
		Title:  "Requests a second, " + kind,
		Unit:   "/s",
		Series: names,
	}
	memory := report.Table{Title: "Memory at most, " + kind, Head: []string{"server", "version", "resident"}}
	for _, o := range objects() {
		seen := make([][]turn, len(servers))
		var limits []float64
		for range s.bench.turns {
			for i, v := range servers {
				t, err := s.load(ctx, v, o.file, o.connections, loaders)
				if err != nil {
					return err
				}
				seen[i] = append(seen[i], t)
			}
			if !tls {
				most, err := process.WriteLimit(ctx, s.cores, loaders, int(o.size))
				if err != nil {
					return err
				}
				limits = append(limits, most/float64(o.size))
			}
		}
		p.Groups = append(p.Groups, s.judge(r, o, kind, servers, seen, limits))
	}
	for _, v := range servers {
		memory.Add(v.name, v.version, report.MiB(process.UsageOf(v.cmd.Process.Pid).Peak))
	}
	r.Tables, r.Plots = append(r.Tables, memory), append(r.Plots, p)
	return nil
}

// all starts the servers that there are on this machine, Brink first.
func (s *site) all(ctx context.Context) ([]*server, error) {
	var servers []*server
	for _, one := range []struct {
		program string
		start   func(context.Context) (*server, error)
		tls     bool
	}{
		{s.bench.brink, func(ctx context.Context) (*server, error) { return s.brinkServer(ctx) }, true},
		{"nginx", s.nginx, true},
		{"caddy", s.caddy, true},
		{"varnishd", s.varnish, false}, // it has no TLS
	} {
		if err := process.Require(one.program); err != nil || s.tls && !one.tls {
			continue
		}
		v, err := one.start(ctx)
		if err != nil {
			return servers, err
		}
		servers = append(servers, v)
	}
	return servers, nil
}

// judge makes a table of the turns for one object, and holds them against the aims.
func (s *site) judge(r *report.Report, o object, kind string, servers []*server, seen [][]turn, limits []float64) report.Group {
	t := report.Table{
		Title: fmt.Sprintf("%s, %s, %d connections", o.name, kind, o.connections),
		Head:  []string{"server", "requests/s", "MB/s", "p50 ms", "p99 ms", "processor s/GB"},
	}
	g := report.Group{Name: o.name}
	bestRate, bestP99, bestName := 0.0, 1e18, ""
	var rate, p99 float64
	for i, v := range servers {
		rates := of(seen[i], turn.rate)
		slowest := of(seen[i], func(t turn) float64 { return t.P99 / 1000 })
		middle := report.Median(rates)
		var processor, bytes float64
		for _, one := range seen[i] {
			processor += one.processor.Seconds()
			bytes += float64(one.Bytes)
		}
		t.Add(
			v.name,
			report.Spread(rates, 0),
			fmt.Sprintf("%.0f", middle*float64(o.size)/1e6),
			report.Spread(
				of(seen[i], func(t turn) float64 { return t.P50 / 1000 }),
				2,
			),
			report.Spread(slowest, 2),
			fmt.Sprintf("%.2f", processor/bytes*1e9),
		)
		g.Values = append(g.Values, middle)
		if i == 0 {
			rate, p99 = middle, report.Median(slowest)
			continue
		}
		if middle > bestRate {
			bestRate, bestName = middle, v.name
		}
		bestP99 = min(bestP99, report.Median(slowest))
	}
	if len(limits) > 0 { // without TLS, for which the aims are set
		what, most := o.name, report.Median(limits)
		r.Aims = append(
			r.Aims,
			report.Aim{
				What: what + ": requests a second",
				Want: "1.2 × the best peer",
				Got:  fmt.Sprintf("%.2f × %s", rate/bestRate, bestName),
				Met:  rate >= 1.2*bestRate,
			},
			report.Aim{
				What: what + ": p99",
				Want: "no worse than the best peer's",
				Got:  fmt.Sprintf("%.2f ms beside %.2f ms", p99, bestP99),
				Met:  p99 <= bestP99,
			},
		)
		t.Add("(write loop)", report.Spread(limits, 0), fmt.Sprintf("%.0f", most*float64(o.size)/1e6), "", "", "")
		if o.size >= 1_000_000 {
			r.Aims = append(
				r.Aims,
				report.Aim{What: what + ": of the machine's limit", Want: "0.7 ×", Got: fmt.Sprintf("%.2f ×", rate/most), Met: rate >= 0.7*most},
			)
		}
	}
	r.Tables = append(r.Tables, t)
	return g
}

func of(turns []turn, what func(turn) float64) []float64 {
	var list []float64
	for _, t := range turns {
		list = append(list, what(t))
	}
	return list
}
