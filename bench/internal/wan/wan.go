// Package wan measures the first install and an update over links with a delay, a rate and a loss.
//
// The life of one call: for each link and pair of releases, [Measure] starts a node and nginx at one end of the link,
// and installs and updates at the other end: with Brink, and by downloading a zip or files from nginx.
//
// The invariant: each turn has its own device, and no connection or TCP state is kept from one download to the next.
package wan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"brink/bench/corpus"
	"brink/bench/how"
	"brink/bench/internal/link"
	"brink/bench/internal/process"
	"brink/bench/internal/report"
	"brink/bench/internal/testbed"
	"brink/bundle"
	"brink/client"
)

// links returns the links that the aims are for.
func links() []link.Link {
	return []link.Link{
		{RTT: 20 * time.Millisecond, Rate: 300e6},
		{RTT: 50 * time.Millisecond, Rate: 100e6},
		{RTT: 100 * time.Millisecond, Rate: 20e6},
		{RTT: 80 * time.Millisecond, Rate: 20e6, Loss: 0.01},
		// Hosts tuned as docs/performance.md advises.
		{RTT: 20 * time.Millisecond, Rate: 300e6, Window: 40},
		{RTT: 80 * time.Millisecond, Rate: 20e6, Loss: 0.01, Window: 40, Congestion: "bbr"},
	}
}

// Measure runs the part.
func Measure(ctx context.Context, b *testbed.Run) (*report.Report, error) {
	if err := process.Require("ip", "nginx", "curl", "zip", "gzip"); err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return nil, &report.Skipped{Why: "network namespaces need root"}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return nil, &report.Skipped{Why: "there is no /dev/net/tun"}
	}
	r := &report.Report{
		Title: "first install and update over long links",
		How:   how.Paragraphs("wan", link.MaxQueue.Milliseconds(), b.Turns),
	}
	for _, l := range links() {
		if !l.Possible() {
			continue
		}
		t := report.Table{
			Title: l.String(),
			Head: []string{
				"bundle",
				"what",
				"Brink ms",
				"floor ms",
				"× floor",
				"bytes",
				"requests",
				"zip ms",
				"files ms",
			},
		}
		p := report.Plot{
			Name:   "wan-" + strings.NewReplacer(" ", "", ",", "-", "/", "", "%", "").Replace(l.String()),
			Title:  "Time to install and to update, " + l.String(),
			Unit:   "ms",
			Series: []string{"Brink", "floor", "zip", "files"},
		}
		for _, pair := range corpus.Pairs() {
			w := &trial{run: b, pair: pair, link: l}
			if err := w.measure(ctx); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", l, pair, err)
			}
			for _, step := range []*step{&w.install, &w.update} {
				ours, floor := report.Median(step.ours), l.Floor(step.requests, step.bytes)
				t.Add(
					pair.String(),
					step.what,
					report.Spread(step.ours, 0),
					fmt.Sprintf("%.0f", floor),
					fmt.Sprintf("%.2f", ours/floor),
					report.Number(
						step.bytes,
					),
					fmt.Sprint(step.requests),
					report.Spread(step.zip, 0),
					report.Number(int64(report.Median(step.files))),
				)
				p.Groups = append(
					p.Groups,
					report.Group{
						Name:   pair.String() + ", " + step.what,
						Values: []float64{ours, floor, report.Median(step.zip), report.Median(step.files)},
					},
				)
				r.Aims = append(r.Aims, step.aims(w, ours, floor)...)
			}
		}
		r.Tables, r.Plots = append(r.Tables, t), append(r.Plots, p)
	}
	return r, nil
}

// step is an install or an update, with the times of all ways to do it in milliseconds.
type step struct {
	what             string
	ours, zip, files []float64
	bytes            int64 // that brink fetch received
	requests         int
}

// aims returns the aims for this step.
func (s *step) aims(w *trial, ours, floor float64) []report.Aim {
	what := fmt.Sprintf("%s: install of %s", w.link, w.pair.Old)
	if s.what == "update" {
		what = fmt.Sprintf("%s: update of %s", w.link, w.pair)
	}
	var list []report.Aim
	if w.link.RTT == 20*time.Millisecond && w.pair.New.App == "swagger-ui-dist" { // the bundle of 5 MB
		most := 200.0
		if s.what == "update" {
			most = 70
		}
		list = append(list, report.Aim{
			What: what, Want: fmt.Sprintf("under %.0f ms", most), Got: fmt.Sprintf("%.0f ms", ours), Met: ours < most,
		})
	}
	if s.what == "update" {
		list = append(list, report.Aim{
			What: what, Want: "1.15 × the floor", Got: fmt.Sprintf("%.2f ×", ours/floor), Met: ours <= 1.15*floor,
		})
	}
	return list
}

// trial measures one pair of releases over one link.
type trial struct {
	run  *testbed.Run
	pair corpus.Pair
	link link.Link

	bed             *testbed.Testbed
	node            *testbed.Node
	ns              *link.Namespaces
	key             string
	install, update step
}

func (w *trial) measure(ctx context.Context) (err error) {
	w.install.what, w.update.what = "install", "update"
	w.bed = &testbed.Testbed{Run: w.run}
	if w.bed.Dir, err = os.MkdirTemp(w.run.Dir, "wan-*"); err != nil {
		return err
	}
	if err := os.Chmod(w.bed.Dir, 0o755); err != nil {
		return err
	}
	if w.ns, err = w.link.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.ns.Close()) }()
	var web *testbed.Server
	err = link.Within(w.ns.Server, func() error {
		w.bed.Listen = net.JoinHostPort(link.ServerAddress, "8080")
		if w.node, err = w.bed.StartNewNode(ctx); err != nil {
			return err
		}
		w.bed.Listen = net.JoinHostPort(link.ServerAddress, "8081")
		w.bed.Files, w.bed.Static = filepath.Join(w.bed.Dir, "files"), true
		web, err = w.bed.Nginx(ctx)
		return err
	})
	defer func() {
		if w.node != nil {
			err = errors.Join(err, w.node.Stop())
		}
		if web != nil {
			err = errors.Join(err, web.Stop())
		}
	}()
	if err != nil {
		return err
	}
	if w.key, err = w.node.KeyFile(w.bed.Dir); err != nil {
		return err
	}
	for _, one := range []struct {
		step    *step
		release corpus.Release
		before  *corpus.Release
	}{{&w.install, w.pair.Old, nil}, {&w.update, w.pair.New, &w.pair.Old}} {
		if err := w.publish(ctx, one.release); err != nil {
			return err
		}
		list, err := w.prepare(ctx, one.release, one.before)
		if err != nil {
			return err
		}
		for turn := range w.run.Turns {
			if err := w.turn(ctx, one.step, turn, list, one.release); err != nil {
				return err
			}
		}
	}
	return nil
}

// publish publishes a release from the servers' end of the link. The node makes patches before the channel moves.
func (w *trial) publish(ctx context.Context, release corpus.Release) error {
	dir, err := testbed.FindRelease(release)
	if err != nil {
		return err
	}
	publish := process.Command(ctx, w.run.Brink, "publish", dir, "--node", w.node.URL, "--key", w.key,
		"--trust", w.node.Trust, "--app", testbed.App, "--version", release.Version, "--channel", "production", "--json")
	return link.Run(w.ns.Server, publish, nil)
}

// prepare writes the files that nginx serves, and returns a configuration file for curl that lists the changed ones.
func (w *trial) prepare(ctx context.Context, release corpus.Release, before *corpus.Release) (string, error) {
	dir, err := testbed.FindRelease(release)
	if err != nil {
		return "", err
	}
	files := filepath.Join(w.bed.Files, release.Version)
	if err := os.MkdirAll(w.bed.Files, 0o755); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"cp", "-r", dir, files},
		{
			"sh", "-c", `cd "$0" && zip -q -9 -r "../$1.zip" . && find . -type f -exec gzip -9 -k {} + && chmod -R a+rX ..`,
			files, release.Version,
		},
	} {
		if err := process.Run(process.Command(ctx, args[0], args[1:]...)); err != nil {
			return "", err
		}
	}
	next, err := (bundle.Folder{FS: os.DirFS(dir)}).Index(ctx)
	if err != nil {
		return "", err
	}
	old := &bundle.Index{}
	if before != nil {
		was, err := testbed.FindRelease(*before)
		if err != nil {
			return "", err
		}
		if old, err = (bundle.Folder{FS: os.DirFS(was)}).Index(ctx); err != nil {
			return "", err
		}
	}
	var list strings.Builder
	for _, c := range bundle.Diff(old, next) {
		if c.Kind != "removed" {
			fmt.Fprintf(
				&list,
				"url = \"http://%s/%s/%s\"\noutput = \"/dev/null\"\nheader = \"Accept-Encoding: gzip\"\n",
				w.bed.Listen,
				release.Version,
				strings.ReplaceAll(c.Path, " ", "%20"),
			)
		}
	}
	path := filepath.Join(w.bed.Dir, release.Version+".curl")
	return path, os.WriteFile(path, []byte(list.String()), 0o644)
}

// turn does one install or update by each way, files only in the first turn.
func (w *trial) turn(ctx context.Context, step *step, turn int, list string, release corpus.Release) error {
	var answer strings.Builder
	fetch := process.Command(
		ctx,
		w.run.Brink,
		"fetch",
		filepath.Join(w.bed.Dir, fmt.Sprintf("device-%d", turn)),
		"--node",
		w.node.URL,
		"--app",
		testbed.App,
		"--channel",
		"production",
		"--trust",
		w.node.Trust,
		"--json",
	)
	if err := link.Run(w.ns.Device, fetch, &answer); err != nil {
		return err
	}
	var result client.Result
	if err := json.Unmarshal([]byte(answer.String()), &result); err != nil {
		return err
	}
	if result.Version != release.Version || step.what == "update" && !result.Patched {
		return fmt.Errorf("the device has %s, patched %t", result.Version, result.Patched)
	}
	step.ours = append(step.ours, result.DurationMS)
	// Parts that are requested at once share a round trip.
	step.bytes, step.requests = result.BytesReceived, result.Requests-max(result.Parts-1, 0)
	var zip strings.Builder
	if err := link.Run(w.ns.Device, process.Command(ctx, "curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{time_total}",
		fmt.Sprintf("http://%s/%s.zip", w.bed.Listen, release.Version)), &zip); err != nil {
		return err
	}
	var seconds float64
	if _, err := fmt.Sscan(zip.String(), &seconds); err != nil {
		return err
	}
	step.zip = append(step.zip, seconds*1000)
	if turn > 0 {
		return nil // files take seconds, and no aim is about them
	}
	start := time.Now()
	curl := process.Command(ctx, "curl", "-sS", "-f", "--parallel", "--parallel-max", "6", "-K", list)
	if err := link.Run(w.ns.Device, curl, nil); err != nil {
		return err
	}
	step.files = append(step.files, float64(time.Since(start).Microseconds())/1000)
	return nil
}
