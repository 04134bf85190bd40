// Package scale measures how latency and memory of a node grow: by bundles and bytes in its store, by idle connections,
// and by requests in flight.
//
// The life of one call: [Measure] fills stores without HTTP, starts a node on each, and loads it with wrk in turns.
//
// The invariant: of the four, only one grows in a measurement; the others stay as they are.
package scale

import (
	"context"
	"errors"
	"fmt"

	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
)

// loadConnections is the number of connections of the load, unless that number is what is measured.
const loadConnections = 8

// bench is one run of the part.
type bench struct {
	testbed.Testbed

	loaders []int // processors of the load; empty: all
}

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	if err := process.Require("wrk", "taskset"); err != nil {
		return nil, err
	}
	s := &bench{Testbed: testbed.Testbed{Run: b}}
	var placement string
	s.loaders, placement = s.Place()
	r := &report.Report{
		Title: "how latency and memory grow",
		How:   how.Paragraphs("scale", loadConnections, b.Turns, b.Seconds, placement, report.Number(b.Stored)),
	}
	steps := []func(context.Context, *report.Report) error{s.byBundles, s.byConnections, s.byInFlight, s.byBytes}
	for _, step := range steps {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// loadInTurns loads a node with a list of requests in turns. It returns the cells for requests a second, p50 and p99,
// and the median of p99. Latencies are in milliseconds.
func (s *bench) loadInTurns(
	ctx context.Context, v *testbed.Server, list string, connections int,
) ([]string, float64, error) {
	var turns testbed.Turns
	for range s.Run.Turns {
		t, err := s.LoadList(ctx, v, list, connections, s.loaders)
		if err != nil {
			return nil, 0, err
		}
		turns = append(turns, t)
	}
	return []string{
		report.Spread(turns.Rates(), 0),
		report.Spread(turns.P50s(), 2),
		report.Spread(turns.P99s(), 2),
	}, report.Median(turns.P99s()), nil
}

// byBundles measures nodes with more and more bundles.
func (s *bench) byBundles(ctx context.Context, r *report.Report) error {
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
		cells, values, err := s.measureFilled(ctx, bundles)
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

// measureFilled measures a node with a number of bundles. It returns a row of the table and the values of the plot.
func (s *bench) measureFilled(ctx context.Context, bundles int) (cells []string, _ []float64, err error) {
	h, err := s.startFilled(ctx, bundles)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	resident := process.ResidentOf(h.PID())
	checks, slowCheck, err := s.loadInTurns(ctx, &h.Server, h.check, loadConnections)
	if err != nil {
		return nil, nil, err
	}
	files, slowFile, err := s.loadInTurns(ctx, &h.Server, h.files, loadConnections)
	if err != nil {
		return nil, nil, err
	}
	cells = append([]string{report.Number(bundles), fmt.Sprint(h.ready.Milliseconds()), report.MiB(resident)}, checks...)
	return append(cells, files...), []float64{slowCheck, slowFile, float64(resident) / (1 << 20)}, nil
}

// byInFlight measures a node with more and more requests in flight.
func (s *bench) byInFlight(ctx context.Context, r *report.Report) (err error) {
	h, err := s.startFilled(ctx, 100)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	t := report.Table{
		Title: "Requests in flight",
		Head:  []string{"connections", "files /s", "p50 ms", "p99 ms", "resident"},
	}
	p := report.Plot{Name: "scale-flight", Title: "By requests in flight", Unit: "ms"}
	p.Groups = []report.Group{{Name: "p99 of a file"}}
	for _, connections := range []int{1, 8, 64, 256, 1024} {
		cells, slowest, err := s.loadInTurns(ctx, &h.Server, h.files, connections)
		if err != nil {
			return err
		}
		t.Add(append(append([]string{report.Number(connections)}, cells...), report.MiB(process.ResidentOf(h.PID())))...)
		p.Series = append(p.Series, report.Number(connections)+" in flight")
		p.Groups[0].Values = append(p.Groups[0].Values, slowest)
	}
	r.Tables, r.Plots = append(r.Tables, t), append(r.Plots, p)
	return nil
}
