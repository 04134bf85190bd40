// Command bench compares Brink with other servers and with the limits of the machine.
//
//	go run ./bench                 all parts
//	go run ./bench peers           one part: delta, peers, ingest, wan, capgo, decisions, scale or fleet
//	go run ./bench peers --json    its results as JSON on standard output instead of tables
//
// The life of one run: each part is a package below bench/internal. One that lacks something on this machine is
// skipped, with the reason. Otherwise it starts its servers in a temporary folder, on loopback or in its own network
// namespaces, measures the competitors in turns, and stops them. Its report goes to bench/results as JSON and plots,
// and bench/RESULTS.md is rewritten from all reports there, so a single part can be run again.
//
// The invariant: figures that are compared were measured in one run on one machine, and so was every figure of a
// report. A report names what could not be measured, and leaves it out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"brink/bench/internal/capgo"
	"brink/bench/internal/decisions"
	"brink/bench/internal/delta"
	"brink/bench/internal/fleet"
	"brink/bench/internal/ingest"
	"brink/bench/internal/peers"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/scale"
	"brink/bench/internal/testbed"
	"brink/bench/internal/wan"
)

// part is one thing that can be measured. measure returns a [*report.Skipped] when this machine lacks what it needs.
type part struct {
	name    string
	what    string // it measures
	measure func(context.Context, *testbed.Run) (*report.Report, error)
}

// parts returns the parts in the order in which they run.
func parts() []part {
	return []part{
		{"delta", "bytes, time and memory of an update, by each way to send one", delta.Measure},
		{"peers", "requests per second, latency, processor and memory beside nginx, Caddy and Varnish", peers.Measure},
		{"ingest", "publishing beside tar | zstd", ingest.Measure},
		{"wan", "first install and update over long links", wan.Measure},
		{"capgo", "whole updates of an app with Capgo's plugin, beside nginx with the same files", capgo.Measure},
		{"decisions", "what a decision costs, beside nginx returning as many fixed bytes", decisions.Measure},
		{
			"scale", "how latency and memory grow: bundles, idle connections, requests in flight, bytes in the store",
			scale.Measure,
		},
		{"fleet", "how news spreads between nodes, a fleet at rest, a node that was away", fleet.Measure},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, status io.Writer) (err error) {
	if len(args) > 0 {
		switch args[0] { // the bench runs itself so
		case process.TimedVerb:
			return process.Timed(args[1:], out)
		case delta.PatchVerb:
			return delta.Patch(args[1:])
		}
	}
	b := &testbed.Run{Status: status}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(status)
	flags.IntVar(&b.Turns, "turns", 3, "how often each server is loaded, in turns with the others")
	flags.IntVar(&b.Seconds, "seconds", 4, "seconds of one turn")
	flags.BoolVar(&b.Pin, "pin", true, "keep servers on the first half of the processors, the load on the others")
	flags.IntVar(&b.Stored, "stored", 1<<10, "MiB in the store that a node opens in the part scale")
	asJSON := flags.Bool("json", false, "print JSON instead of tables")
	write := flags.Bool("write", true, "write bench/results and bench/RESULTS.md")
	flags.Usage = func() {
		fmt.Fprintln(status, "usage: go run ./bench [PART] [flags]")
		for _, p := range parts() {
			fmt.Fprintf(status, "  %-10s %s\n", p.name, p.what)
		}
		flags.PrintDefaults()
	}
	only := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		only, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.Turns < 1 || b.Seconds < 1 || b.Stored < 1 || flags.NArg() > 0 {
		flags.Usage()
		return errors.New("want one part at most, at least one turn, one second and one MiB")
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	if err := prepare(ctx, b, root); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.Dir)) }()
	reports, err := measure(ctx, b, only)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(reports)
	} else {
		for _, r := range reports {
			r.Text(out)
		}
	}
	if err != nil || !*write {
		return err
	}
	var all []report.Part
	for _, p := range parts() {
		all = append(all, report.Part{Name: p.name, What: p.what})
	}
	return report.Write(filepath.Join(root, "bench"), all, reports)
}

// measure runs all parts, or only the one that is named.
func measure(ctx context.Context, b *testbed.Run, only string) ([]*report.Report, error) {
	var reports []*report.Report
	known := only == ""
	for _, p := range parts() {
		if only != "" && p.name != only {
			continue
		}
		known = true
		fmt.Fprintf(b.Status, "%s: %s\n", p.name, p.what)
		before := process.LoadAverage()
		r, err := p.measure(ctx, b)
		var lacks *report.Skipped
		if errors.As(err, &lacks) {
			fmt.Fprintf(b.Status, "%s: left out: %s\n", p.name, lacks.Why)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		r.Part, r.Machine = p.name, process.Machine()
		r.Noise = fmt.Sprintf("Load average of the machine before the part: %s.", before)
		reports = append(reports, r)
	}
	if !known {
		return nil, fmt.Errorf("there is no part %q", only)
	}
	return reports, nil
}

// findRoot returns the folder of the repository: the nearest one upwards that has a go.mod.
func findRoot() (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root, nil
		}
		if root == filepath.Dir(root) {
			return "", errors.New("run it inside the repository")
		}
		root = filepath.Dir(root)
	}
}

// prepare makes the temporary folder of a run, and builds the program under test.
func prepare(ctx context.Context, b *testbed.Run, root string) (err error) {
	if b.Dir, err = os.MkdirTemp("", "brink-bench-*"); err != nil {
		return err
	}
	// Peers drop their privileges, and must still reach their files.
	if err := os.Chmod(b.Dir, 0o755); err != nil {
		return err
	}
	b.Brink = filepath.Join(b.Dir, "brink")
	build := process.Command(ctx, "go", "build", "-o", b.Brink, "./cmd/brink")
	build.Dir = root
	return process.Run(build)
}
