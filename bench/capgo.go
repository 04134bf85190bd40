package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"brink/bench/corpus"
	"brink/bench/how"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/bench/updater"
	"brink/bundle"
	"brink/digest"

	format "brink/protocol/capgo"
	"brink/publish"
)

// capgoPlugin is the version of the plugin that devices run.
const capgoPlugin = "8.51.23"

// What is cut out of a release: so many of its files, the largest of those up to a size. It is about 5 MB.
const (
	capgoFiles   = 300
	capgoLargest = 5 << 20
)

// capgo takes devices with Capgo's plugin through updates, by Brink and by nginx in turns.
func capgo(ctx context.Context, b *testbed.Run) (r *report.Report, err error) {
	if err := process.Require(append(updater.Tools(), "nginx", "taskset")...); err != nil {
		return nil, err
	}
	for _, jar := range updater.Jars() {
		if _, err := os.Stat(jar); err != nil {
			return nil, &report.Skipped{Why: "not on this machine: " + jar}
		}
	}
	c := &capgoBench{Testbed: testbed.Testbed{Run: b}, encoded: map[digest.Digest]bool{}, seen: map[string]*capgoSeen{}}
	var placement string
	c.loaders, placement = c.Place()
	if c.Dir, err = os.MkdirTemp(b.Dir, "capgo-*"); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if c.devices, err = b.MemoryDir(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.devices)) }()
	if err := c.cut(ctx); err != nil {
		return nil, err
	}
	if c.classPath, err = updater.Compile(ctx, filepath.Join(c.Dir, "java"), capgoPlugin); err != nil {
		return nil, &report.Skipped{Why: "the plugin cannot be had here: " + err.Error()}
	}
	if c.node, err = c.StartNewNode(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.node.Stop()) }()
	if c.hand, err = startHandMade(ctx, &c.Testbed); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.hand.Stop()) }()
	if c.gate, err = openCapgoGate(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.gate.close()) }()

	rounds := 3 * b.Turns
	for round := range rounds + 1 {
		for i := range 2 { // both ways round, so that neither server is always the one that comes after the other
			if err := c.round(ctx, round, (round+i)%2 == 0); err != nil {
				return nil, fmt.Errorf("round %d: %w", round, err)
			}
		}
	}
	return &report.Report{
		Title: "whole updates of an app with Capgo's plugin, by Brink and by nginx with the same files",
		How: how.Paragraphs("capgo", capgoPlugin, c.releases[0].files, float64(c.releases[0].bytes)/1e6, capgoPair().String(), rounds,
			placement, capgoProcessors),
		Tables: []report.Table{c.times(), c.costs()},
	}, nil
}

// capgoPair is what the releases are cut out of.
func capgoPair() corpus.Pair { return corpus.Pairs()[len(corpus.Pairs())-1] }

// capgoBench is one run of the part. The first round is counted and not timed, the others are timed and not counted.
type capgoBench struct {
	testbed.Testbed

	loaders   []int
	classPath string
	devices   string // folder of what devices hold
	node      *testbed.Node
	hand      *handMade
	gate      *capgoGate
	releases  [3]capgoRelease        // the first, the second, and the first with a file that makes the plugin take the zip
	encoded   map[digest.Digest]bool // bundles whose files the node has as brotli
	seen      map[string]*capgoSeen
}

// capgoRelease is a release that devices are taken to.
type capgoRelease struct {
	version string
	dir     string
	bundle  digest.Digest
	files   int
	bytes   int64
}

// cut makes the releases.
func (c *capgoBench) cut(ctx context.Context) error {
	pair := capgoPair()
	for i, from := range []corpus.Release{pair.Old, pair.New, pair.Old} {
		source, err := corpus.Open(from.App, from.Version)
		if errors.Is(err, corpus.ErrMissing) {
			return &report.Skipped{Why: err.Error()}
		}
		if err != nil {
			return err
		}
		r := capgoRelease{version: fmt.Sprintf("1.%d.0", i%2+1), dir: filepath.Join(c.Dir, fmt.Sprint("release", i))}
		ix, err := bundle.Folder{FS: os.DirFS(source)}.Index(ctx)
		if err != nil {
			return err
		}
		for _, f := range largest(ix.Files, capgoFiles, capgoLargest) {
			raw, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(f.Path)))
			if err != nil {
				return err
			}
			to := filepath.Join(r.dir, filepath.FromSlash(f.Path))
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, raw, 0o600)); err != nil {
				return err
			}
			r.files++
			r.bytes += f.Size
		}
		if i == 2 { // the plugin would cut off the end of this name, so that devices are given the zip
			if err := os.WriteFile(filepath.Join(r.dir, "zip.br"), []byte("no brotli"), 0o600); err != nil {
				return err
			}
		}
		if ix, err = (bundle.Folder{FS: os.DirFS(r.dir)}).Index(ctx); err != nil {
			return err
		}
		r.bundle = ix.Bundle()
		c.releases[i] = r
	}
	return nil
}

// largest returns the n largest of the files that have at most so many bytes, those of one size by their paths.
func largest(files []bundle.File, n int, most int64) []bundle.File {
	list := slices.DeleteFunc(slices.Clone(files), func(f bundle.File) bool { return f.Size > most })
	slices.SortFunc(list, func(a, b bundle.File) int {
		if a.Size != b.Size {
			return int(b.Size - a.Size)
		}
		return strings.Compare(a.Path, b.Path)
	})
	return list[:min(n, len(list))]
}

// The updates that are measured.
const (
	capgoByZip  = "first, by zip"
	capgoByFile = "first, by file"
	capgoSecond = "second, by file"
)

// round takes two new devices through their updates: one by zip, one by file and then to the second release.
func (c *capgoBench) round(ctx context.Context, round int, brink bool) error {
	if err := c.journey(ctx, round, brink, "zip", c.releases[2], capgoByZip); err != nil {
		return err
	}
	return c.journey(ctx, round, brink, "files", c.releases[0], capgoByFile)
}

// journey takes a new device to a release, and from the first one to the second.
func (c *capgoBench) journey(
	ctx context.Context, round int, brink bool, kind string, release capgoRelease, what string,
) (err error) {
	v := &c.hand.Server
	if brink {
		v = &c.node.Server
	}
	name := fmt.Sprintf("%s-%s-%d", kind, strings.ToLower(v.Name), round)
	at := v.URL
	if round == 0 {
		at = c.gate.before(v.URL)
	}
	serve := func(release capgoRelease) error {
		if err := c.publish(ctx, name, release); err != nil || brink {
			return err
		}
		return c.hand.mirror(ctx, c.node.URL, name, at)
	}
	if err := serve(release); err != nil {
		return err
	}
	d, err := c.boot(ctx, name, at+"/capgo", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.shut()) }()
	steps := []capgoStep{{release, what}}
	if what == capgoByFile {
		steps = append(steps, capgoStep{c.releases[1], capgoSecond})
	}
	for i, step := range steps {
		if i > 0 {
			if err := serve(step.release); err != nil {
				return err
			}
		}
		before := process.UsageOf(v.PID()).Processor
		c.gate.reset()
		took, err := d.update(ctx, step.release.bundle)
		if err != nil {
			return fmt.Errorf("%s from %s: %w", step.what, v.Name, err)
		}
		seen := c.of(step.what, brink)
		if round == 0 {
			seen.counted = c.gate.counted()
			continue
		}
		seen.downloaded = append(seen.downloaded, took.downloaded.Seconds()*1000)
		seen.shown = append(seen.shown, took.shown.Seconds()*1000)
		seen.processor += process.UsageOf(v.PID()).Processor - before
	}
	return nil
}

// capgoStep is one update of a device.
type capgoStep struct {
	release capgoRelease
	what    string
}

// publish makes a release what the node serves on a channel, unless it is, and waits for all that the node makes of it.
func (c *capgoBench) publish(ctx context.Context, name string, release capgoRelease) error {
	p, err := publish.New(c.node.Publisher())
	if err != nil {
		return err
	}
	request := publish.Request{Dir: release.dir, App: testbed.App, Version: release.version, Channel: name}
	if strings.HasPrefix(name, "zip") {
		request.Attachments = []publish.Attacher{publish.Zip{Choice: publish.Wanted}}
	}
	if _, err := p.Publish(ctx, request); err != nil {
		return err
	}
	if err := c.encode(ctx, release); err != nil {
		return err
	}
	return process.WaitIdle(ctx, c.node.PID())
}

// encode has the node make the brotli of all files that are sent so: it does when they are asked for. Until then
// devices are given the files as they are.
func (c *capgoBench) encode(ctx context.Context, release capgoRelease) error {
	if c.encoded[release.bundle] || release == c.releases[2] {
		return nil
	}
	ix, err := bundle.Folder{FS: os.DirFS(release.dir)}.Index(ctx)
	if err != nil {
		return err
	}
	for _, f := range ix.Files {
		if f.Size < format.MinBrotli {
			continue
		}
		from := c.node.URL + "/capgo/files/" + release.bundle.String() + "/" + (&url.URL{Path: f.Path + ".br"}).EscapedPath()
		// A file that brotli does not make smaller is not found so.
		if _, err := fetched(ctx, http.MethodGet, from, nil); err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	c.encoded[release.bundle] = true
	return nil
}

// capgoSeen is what was seen of one update by one server.
type capgoSeen struct {
	downloaded, shown []float64 // milliseconds, one for each round
	processor         time.Duration
	counted           capgoCount
}

func (c *capgoBench) of(what string, brink bool) *capgoSeen {
	key := fmt.Sprint(what, brink)
	if c.seen[key] == nil {
		c.seen[key] = &capgoSeen{}
	}
	return c.seen[key]
}

func (c *capgoBench) times() report.Table {
	t := report.Table{
		Title: "Milliseconds of an update",
		Head:  []string{"update", "Brink", "nginx", "Brink / nginx", "Brink, downloaded", "nginx, downloaded"},
	}
	for _, what := range []string{capgoByZip, capgoByFile, capgoSecond} {
		ours, theirs := c.of(what, true), c.of(what, false)
		t.Add(what, report.Spread(ours.shown, 0), report.Spread(theirs.shown, 0),
			fmt.Sprintf("%.2f", report.Median(ours.shown)/report.Median(theirs.shown)),
			report.Spread(ours.downloaded, 0), report.Spread(theirs.downloaded, 0))
	}
	return t
}

func (c *capgoBench) costs() report.Table {
	t := report.Table{
		Title: "Requests and bytes of an update, and what it costs the server",
		Head:  []string{"update", "server", "requests", "files", "bytes", "of them the answer", "processor ms"},
	}
	for _, what := range []string{capgoByZip, capgoByFile, capgoSecond} {
		for _, brink := range []bool{true, false} {
			seen := c.of(what, brink)
			t.Add(what, map[bool]string{true: "Brink", false: "nginx"}[brink],
				report.Number(seen.counted.requests), report.Number(seen.counted.files), report.Number(seen.counted.bytes),
				report.Number(seen.counted.answer),
				fmt.Sprintf("%.0f", float64(seen.processor.Milliseconds())/float64(len(seen.shown))))
		}
	}
	return t
}
