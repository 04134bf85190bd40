// Package peers measures Brink beside nginx, Caddy and Varnish: the same files, from memory and from a cold disk.
//
// The life of one call: [Measure] starts all servers that this machine has, without TLS and then with it, and loads
// them with wrk in turns, object by object; then it starts each of them on a cold disk and requests each file once.
//
// The invariant: only one server is loaded at a time, and each gets as many turns as the others.
package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
)

// object is a file that all servers serve.
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

// bench is one run of the part.
type bench struct {
	testbed.Testbed

	loaders []int // processors of the load; empty: all
}

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	if err := process.Require("wrk", "nginx", "taskset"); err != nil {
		return nil, err
	}
	s := &bench{Testbed: testbed.Testbed{Run: b}}
	var placement string
	s.loaders, placement = s.Place()
	r := &report.Report{
		Title: "the same bytes from Brink and from its peers",
		How:   how.Paragraphs("peers", b.Turns, b.Seconds, placement),
	}
	for _, tls := range []bool{false, true} {
		if err := s.compare(ctx, r, tls); err != nil {
			return nil, err
		}
	}
	return r, s.measureCold(ctx, r)
}

// writeNoise writes a file of random bytes, which cannot be compressed.
func writeNoise(path string, size int) error {
	noise := make([]byte, size)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	return os.WriteFile(path, noise, 0o644)
}

// compare loads all servers, with or without TLS, and adds the results to the report.
func (s *bench) compare(ctx context.Context, r *report.Report, tls bool) (err error) {
	s.TLS = tls
	if s.Dir, err = os.MkdirTemp(s.Run.Dir, "peers-*"); err != nil {
		return err
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	s.Files = filepath.Join(s.Dir, "files")
	if err := os.Mkdir(s.Files, 0o755); err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, o := range objects() {
		if err := writeNoise(filepath.Join(s.Files, o.file), int(o.size)); err != nil {
			return err
		}
		sizes[o.file] = o.size
	}
	kind := "plain"
	if tls {
		kind = "TLS 1.3"
		if s.Cert, s.Key, err = testbed.NewCertificate(s.Dir); err != nil {
			return err
		}
	}
	servers, err := s.startAll(ctx)
	defer func() {
		for _, v := range servers {
			err = errors.Join(err, v.Stop())
		}
	}()
	if err != nil {
		return err
	}
	names := make([]string, len(servers))
	for i, v := range servers {
		names[i] = v.Name
		if err := v.Warm(ctx, testbed.NewClient(), sizes); err != nil {
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
		turns := make([]testbed.Turns, len(servers))
		var limits []float64
		for range s.Run.Turns {
			for i, v := range servers {
				t, err := s.Load(ctx, v, o.file, o.connections, s.loaders)
				if err != nil {
					return err
				}
				turns[i] = append(turns[i], t)
			}
			if !tls {
				most, err := process.WriteLimit(ctx, s.Cores, s.loaders, int(o.size))
				if err != nil {
					return err
				}
				limits = append(limits, most/float64(o.size))
			}
		}
		p.Groups = append(p.Groups, evaluate(r, o, kind, servers, turns, limits))
	}
	for _, v := range servers {
		memory.Add(v.Name, v.Version, report.MiB(process.UsageOf(v.PID()).Peak))
	}
	r.Tables, r.Plots = append(r.Tables, memory), append(r.Plots, p)
	return nil
}

// startAll starts all servers that this machine has, Brink first.
func (s *bench) startAll(ctx context.Context) ([]*testbed.Server, error) {
	var servers []*testbed.Server
	for _, one := range []struct {
		program string
		start   func(context.Context) (*testbed.Server, error)
		tls     bool
	}{
		{s.Run.Brink, func(ctx context.Context) (*testbed.Server, error) { return s.Brink(ctx) }, true},
		{"nginx", s.Nginx, true},
		{"caddy", s.Caddy, true},
		{"varnishd", s.Varnish, false}, // it has no TLS
	} {
		if err := process.Require(one.program); err != nil || s.TLS && !one.tls {
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

// evaluate adds a table of the turns for one object and the aims to the report, and returns the bars of its plot.
func evaluate(
	r *report.Report, o object, kind string, servers []*testbed.Server, turns []testbed.Turns, limits []float64,
) report.Group {
	t := report.Table{
		Title: fmt.Sprintf("%s, %s, %d connections", o.name, kind, o.connections),
		Head:  []string{"server", "requests/s", "MB/s", "p50 ms", "p99 ms", "processor s/GB"},
	}
	g := report.Group{Name: o.name}
	bestRate, bestP99, bestName := 0.0, 1e18, ""
	var rate, p99 float64
	for i, v := range servers {
		rates := turns[i].Rates()
		slowest := turns[i].P99s()
		middle := report.Median(rates)
		var processor, bytes float64
		for _, one := range turns[i] {
			processor += one.Processor.Seconds()
			bytes += float64(one.Bytes)
		}
		t.Add(
			v.Name,
			report.Spread(rates, 0),
			fmt.Sprintf("%.0f", middle*float64(o.size)/1e6),
			report.Spread(turns[i].P50s(), 2),
			report.Spread(slowest, 2),
			fmt.Sprintf("%.2f", processor/bytes*1e9),
		)
		g.Values = append(g.Values, middle)
		if i == 0 {
			rate, p99 = middle, report.Median(slowest)
			continue
		}
		if middle > bestRate {
			bestRate, bestName = middle, v.Name
		}
		bestP99 = min(bestP99, report.Median(slowest))
	}
	if len(limits) > 0 { // without TLS: the aims are for that
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
				report.Aim{
					What: what + ": of the machine's limit", Want: "0.7 ×",
					Got: fmt.Sprintf("%.2f ×", rate/most), Met: rate >= 0.7*most,
				},
			)
		}
	}
	r.Tables = append(r.Tables, t)
	return g
}
