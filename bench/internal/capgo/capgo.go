// Package capgo measures whole updates of an app with Capgo's plugin, served by Brink and by nginx in turns.
//
// The life of one call: [Measure] makes releases from the corpus, and starts a node, nginx and, for each round, new
// devices: JVMs with the real plugin. The first round passes a proxy that counts requests and bytes; the others are
// timed.
//
// The invariant: both servers send the same bytes, since nginx has copies of the node's responses, and a device must
// show the release that was published.
package capgo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// pluginVersion is the version of the plugin that devices run.
const pluginVersion = "8.51.23"

// What is used of a release: its largest files up to a size, about 5 MB.
const (
	maxFiles    = 300
	maxFileSize = 5 << 20
)

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (r *report.Report, err error) {
	if err := process.Require(append(updater.Tools(), "nginx", "taskset")...); err != nil {
		return nil, err
	}
	for _, jar := range updater.Jars() {
		if _, err := os.Stat(jar); err != nil {
			return nil, &report.Skipped{Why: "not on this machine: " + jar}
		}
	}
	c := &bench{Testbed: testbed.Testbed{Run: b}, encoded: map[digest.Digest]bool{}, results: map[string]*result{}}
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
	if err := c.cutReleases(ctx); err != nil {
		return nil, err
	}
	if c.classPath, err = updater.Compile(ctx, filepath.Join(c.Dir, "java"), pluginVersion); err != nil {
		return nil, &report.Skipped{Why: "the plugin cannot be had here: " + err.Error()}
	}
	if c.node, err = c.StartNewNode(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.node.Stop()) }()
	if c.static, err = startStatic(ctx, &c.Testbed); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.static.Stop()) }()
	if c.proxy, err = openProxy(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.proxy.close()) }()

	rounds := 3 * b.Turns
	for round := range rounds + 1 {
		for i := range 2 { // in both orders, so that neither server is always the second
			if err := c.round(ctx, round, (round+i)%2 == 0); err != nil {
				return nil, fmt.Errorf("round %d: %w", round, err)
			}
		}
	}
	return &report.Report{
		Title: "whole updates of an app with Capgo's plugin, by Brink and by nginx with the same files",
		How: how.Paragraphs("capgo", pluginVersion, c.releases[0].files, float64(c.releases[0].bytes)/1e6,
			sources().String(), rounds, placement, deviceProcessors),
		Tables: []report.Table{c.times(), c.costs()},
	}, nil
}

// bench is one run of the part. The first round is counted and not timed, the others are timed and not counted.
type bench struct {
	testbed.Testbed

	loaders   []int
	classPath string
	devices   string // folder for the data of the devices
	node      *testbed.Node
	static    *staticServer
	proxy     *countingProxy
	releases  [3]appRelease          // the first, the second, and the first with a file that makes the plugin use the zip
	encoded   map[digest.Digest]bool // bundles whose files the node has compressed with brotli
	results   map[string]*result
}

// The updates that are measured.
const (
	byZip  = "first, by zip"
	byFile = "first, by file"
	second = "second, by file"
)

// round updates two new devices: one by zip, the other by file, and then to the second release.
func (c *bench) round(ctx context.Context, round int, brink bool) error {
	if err := c.updateDevice(ctx, round, brink, "zip", c.releases[2], byZip); err != nil {
		return err
	}
	return c.updateDevice(ctx, round, brink, "files", c.releases[0], byFile)
}

// updateDevice updates a new device to a release, and by file also to the second one.
func (c *bench) updateDevice(
	ctx context.Context, round int, brink bool, kind string, release appRelease, what string,
) (err error) {
	v := &c.static.Server
	if brink {
		v = &c.node.Server
	}
	name := fmt.Sprintf("%s-%s-%d", kind, strings.ToLower(v.Name), round)
	at := v.URL
	if round == 0 {
		at = c.proxy.forwardTo(v.URL)
	}
	serve := func(release appRelease) error {
		if err := c.publish(ctx, name, release); err != nil || brink {
			return err
		}
		return c.static.mirror(ctx, c.node.URL, name, at)
	}
	if err := serve(release); err != nil {
		return err
	}
	d, err := c.startDevice(ctx, name, at+"/capgo", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	steps := []step{{release, what}}
	if what == byFile {
		steps = append(steps, step{c.releases[1], second})
	}
	for i, step := range steps {
		if i > 0 {
			if err := serve(step.release); err != nil {
				return err
			}
		}
		before := process.UsageOf(v.PID()).Processor
		c.proxy.reset()
		took, err := d.update(ctx, step.release.bundle)
		if err != nil {
			return fmt.Errorf("%s from %s: %w", step.what, v.Name, err)
		}
		got := c.resultOf(step.what, brink)
		if round == 0 {
			got.counted = c.proxy.total()
			continue
		}
		got.downloaded = append(got.downloaded, took.downloaded.Seconds()*1000)
		got.shown = append(got.shown, took.shown.Seconds()*1000)
		got.processor += process.UsageOf(v.PID()).Processor - before
	}
	return nil
}

// step is one update of a device.
type step struct {
	release appRelease
	what    string
}

// publish publishes a release to a channel of the node, and waits until the node has built all representations.
func (c *bench) publish(ctx context.Context, name string, release appRelease) error {
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
	if err := c.buildBrotli(ctx, release); err != nil {
		return err
	}
	return process.WaitIdle(ctx, c.node.PID())
}

// buildBrotli makes the node compress all files that it sends with brotli, which it does at the first request. Until
// then devices get the plain files.
func (c *bench) buildBrotli(ctx context.Context, release appRelease) error {
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
		// A file that brotli does not make smaller has no such form.
		if _, err := fetch(ctx, http.MethodGet, from, nil); err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	c.encoded[release.bundle] = true
	return nil
}

// result is what was measured of one update by one server.
type result struct {
	downloaded, shown []float64 // milliseconds, one for each round
	processor         time.Duration
	counted           traffic
}

func (c *bench) resultOf(what string, brink bool) *result {
	key := fmt.Sprint(what, brink)
	if c.results[key] == nil {
		c.results[key] = &result{}
	}
	return c.results[key]
}

func (c *bench) times() report.Table {
	t := report.Table{
		Title: "Milliseconds of an update",
		Head:  []string{"update", "Brink", "nginx", "Brink / nginx", "Brink, downloaded", "nginx, downloaded"},
	}
	for _, what := range []string{byZip, byFile, second} {
		ours, theirs := c.resultOf(what, true), c.resultOf(what, false)
		t.Add(what, report.Spread(ours.shown, 0), report.Spread(theirs.shown, 0),
			fmt.Sprintf("%.2f", report.Median(ours.shown)/report.Median(theirs.shown)),
			report.Spread(ours.downloaded, 0), report.Spread(theirs.downloaded, 0))
	}
	return t
}

func (c *bench) costs() report.Table {
	t := report.Table{
		Title: "Requests and bytes of an update, and what it costs the server",
		Head:  []string{"update", "server", "requests", "files", "bytes", "of them the answer", "processor ms"},
	}
	for _, what := range []string{byZip, byFile, second} {
		for _, brink := range []bool{true, false} {
			got := c.resultOf(what, brink)
			t.Add(what, map[bool]string{true: "Brink", false: "nginx"}[brink],
				report.Number(got.counted.requests), report.Number(got.counted.files), report.Number(got.counted.bytes),
				report.Number(got.counted.answer),
				fmt.Sprintf("%.0f", float64(got.processor.Milliseconds())/float64(len(got.shown))))
		}
	}
	return t
}
