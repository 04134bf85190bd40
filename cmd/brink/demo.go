package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/channel"
	"brink/client"
	"brink/digest"
	"brink/node"
	"brink/publish"
)

const (
	demoApplication = "com.example.demo"
	demoChannel     = "production"
	demoFirst       = "1.0.0"
	demoSecond      = "1.1.0"
)

// demoPatience is how long the channel waits for its patch: long enough to show one even on a slow machine.
const demoPatience = 5 * time.Minute

func demoCommand(sh *shell) *cobra.Command {
	var listen string
	var exclude []string
	var once bool
	cmd := verb("demo [DIR]", "Demonstrate publishing to a node and updating a device",
		`It runs a node in a temporary folder and publishes a generated web app of about 5 MB, which a device installs. Then
it publishes a second version with a small change, to which the device updates. With DIR it uses the files in that
folder and makes the change in a copy. The node runs until Ctrl-C.`,
		`
  brink demo
  brink demo ./www --exclude '*.map'
  brink demo --once --json`,
		func(cmd *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 1 {
				dir = args[0]
			}
			return sh.demo(cmd.Context(), demo{source: dir, exclude: exclude, listen: listen, once: once})
		})
	cmd.Args = upTo("DIR")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback `ADDRESS` of the node; port 0 selects a free port")
	cmd.Flags().BoolVar(&once, "once", false, "stop the node after the table is printed")
	excludeFlag(cmd, &exclude)
	sh.printsJSON(cmd)
	return cmd
}

// demo is one demonstration. It writes only to one temporary folder.
type demo struct {
	source  string // the user's folder; empty: the generated app
	exclude []string
	listen  string
	once    bool

	dir string // the temporary folder
	dev *development
	url string
}

// demoStep is one row of the table.
type demoStep struct {
	Step       string  `json:"step"`
	Version    string  `json:"version"`
	Bytes      int64   `json:"bytes"` // sent by the publisher, or received by the device
	Requests   int64   `json:"requests"`
	DurationMS float64 `json:"duration_ms"`
	Patched    bool    `json:"patched"`
	Bundle     string  `json:"bundle"`
}

// demoResult is what brink demo prints.
type demoResult struct {
	Node    string     `json:"node"`
	App     string     `json:"app"`
	Channel string     `json:"channel"`
	Files   int        `json:"files"`
	Archive int64      `json:"archive_bytes"` // of the second version
	Made    bool       `json:"made_up"`       // the files are generated
	Change  string     `json:"change"`
	Steps   []demoStep `json:"steps"`
	Equal   bool       `json:"equal"` // the device's files are the publisher's, byte for byte
}

func (sh *shell) demo(ctx context.Context, d demo) (err error) {
	if !isLoopback(d.listen) {
		return &usageError{
			message: fmt.Sprintf("demo: %s is not loopback", d.listen),
			hint:    "use brink serve to run a node that other machines can reach",
		}
	}
	if d.dir, err = os.MkdirTemp("", "brink-demo-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	if d.dev, err = newDevelopment(filepath.Join(d.dir, "keys"), time.Now()); err != nil {
		return err
	}
	if err := d.dev.save(); err != nil {
		return err
	}
	sh.status("generating the files")
	first, second, change, err := d.versions(ctx)
	sh.status("")
	if err != nil {
		return err
	}
	n, err := node.New(node.Config{
		Data: filepath.Join(d.dir, "data"), Listen: d.listen, Trust: [][]byte{d.dev.trust}, Drain: -1,
		Prepare: demoPatience,
	})
	if err != nil {
		return err
	}
	d.url = n.URL()

	// The node has its own context: it must outlive the steps, and stop when one of them fails.
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()

	result, err := d.play(ctx, first, second, sh.status)
	result.Change = change
	sh.status("")
	if err != nil {
		return err
	}
	if err := sh.show(result, result.text); err != nil || d.once {
		return err
	}
	sh.announceDemo(d)
	<-ctx.Done()
	return nil
}

// announceDemo prints where the node runs and how to use it.
func (sh *shell) announceDemo(d demo) {
	fmt.Fprintf(sh.stderr, "\nThe node runs at %s until Ctrl-C, which also removes all files of the demo.\n\n", d.url)
	folder := d.source
	if folder == "" {
		folder = "./www"
	}
	sh.commands(d.dev, d.url, demoApplication, folder, "1.2.0")
}

// play publishes two folders as two versions, and updates a device to each. It passes descriptions of its steps to
// status.
func (d demo) play(ctx context.Context, first, second string, status func(string)) (demoResult, error) {
	result := demoResult{Node: d.url, App: demoApplication, Channel: demoChannel, Made: d.source == ""}
	device := filepath.Join(d.dir, "device")
	var last digest.Digest
	var files string // of the device
	for _, v := range []struct{ version, dir, does string }{
		{demoFirst, first, "installs"},
		{demoSecond, second, "updates to"},
	} {
		status("publishing " + v.version)
		published, requests, err := d.publish(ctx, v.dir, v.version)
		if err != nil {
			return result, err
		}
		result.Files, result.Archive, last = published.Files, published.Bytes, published.Bundle
		result.Steps = append(result.Steps, demoStep{
			Step: "publish " + v.version, Version: v.version, Bytes: published.BytesSent, Requests: requests,
			DurationMS: published.DurationMS, Bundle: published.Bundle.String(),
		})
		status("the device " + v.does + " " + v.version)
		fetched, err := d.fetch(ctx, device)
		if err != nil {
			return result, err
		}
		files = fetched.Path
		result.Steps = append(result.Steps, demoStep{
			Step: "device " + v.does + " " + v.version, Version: fetched.Version, Bytes: fetched.BytesReceived,
			Requests: int64(fetched.Requests), DurationMS: fetched.DurationMS, Patched: fetched.Patched,
			Bundle: fetched.Bundle.String(),
		})
	}
	installed, err := indexOf(ctx, files, nil)
	if err != nil {
		return result, err
	}
	result.Equal = installed.Bundle() == last
	if !result.Equal {
		return result, fmt.Errorf("the device has %s, not %s: %w", installed.Bundle(), last, client.ErrDamaged)
	}
	return result, nil
}

func (d demo) publish(ctx context.Context, dir, version string) (publish.Result, int64, error) {
	counter := &requestCounter{next: http.DefaultTransport.(*http.Transport).Clone()}
	defer counter.next.CloseIdleConnections()
	p, err := publish.New(publish.Config{
		Node: d.url, Trust: d.dev.trust, Keys: []channel.PrivateKey{d.dev.publisher}, HTTP: &http.Client{Transport: counter},
	})
	if err != nil {
		return publish.Result{}, 0, err
	}
	result, err := p.Publish(ctx, publish.Request{
		Dir: dir, Exclude: d.exclude, App: demoApplication, Version: version, Channel: demoChannel,
	})
	return result, counter.sent.Load(), err
}

func (d demo) fetch(ctx context.Context, dir string) (result client.Result, err error) {
	device, err := client.New(client.Config{
		Dir: dir, Nodes: []string{d.url}, App: demoApplication, Channel: demoChannel, Trust: d.dev.trust, Confirm: true,
	})
	if err != nil {
		return result, err
	}
	result, err = device.Update(ctx)
	return result, errors.Join(err, device.Close())
}

// requestCounter counts the requests that go through it.
type requestCounter struct {
	next *http.Transport
	sent atomic.Int64
}

// RoundTrip implements [http.RoundTripper].
func (c *requestCounter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	return c.next.RoundTrip(req)
}

// versions returns the folders of the two versions, and a description of the change in the second.
func (d demo) versions(ctx context.Context) (first, second, change string, err error) {
	second = filepath.Join(d.dir, "second")
	if d.source != "" {
		change, err = copyChanged(ctx, d.source, second, d.exclude)
		return d.source, second, change, err
	}
	first = filepath.Join(d.dir, "first")
	if err := newDemoApp(false).write(first); err != nil {
		return "", "", "", err
	}
	change = "changes one function, one style rule and one sentence in 8 languages"
	return first, second, change, newDemoApp(true).write(second)
}

// copyChanged copies the files of a folder that belong to its bundle, with a small change in one of them. It returns a
// description of the change.
func copyChanged(ctx context.Context, from, to string, exclude []string) (change string, err error) {
	root, err := os.OpenRoot(from)
	if err != nil {
		return "", err
	}
	defer root.Close()
	ix, err := indexOf(ctx, from, exclude)
	if err != nil {
		return "", err
	}
	name, addition, change := smallChange(ix)
	for i := range ix.Files {
		f := &ix.Files[i]
		target := filepath.Join(to, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		if err := copyFile(root, f.Path, target); err != nil {
			return "", err
		}
	}
	file, err := os.OpenFile(filepath.Join(to, filepath.FromSlash(name)), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(addition)
	return change, errors.Join(err, file.Close())
}

func copyFile(root *os.Root, name, target string) (err error) {
	source, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // it was only read
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}

// smallChange returns a file and what to append to it: a comment for the largest script, style sheet or page, or else
// the content of a new file. It also returns a description of the change.
func smallChange(ix *bundle.Index) (name, addition, change string) {
	var largest int64 = -1
	for i := range ix.Files {
		f := &ix.Files[i]
		var comment string
		switch filepath.Ext(f.Path) {
		case ".js", ".mjs", ".css":
			comment = "\n/* changed by brink demo */\n"
		case ".html", ".htm", ".svg":
			comment = "\n<!-- changed by brink demo -->\n"
		}
		if comment != "" && f.Size > largest {
			name, addition, largest = f.Path, comment, f.Size
		}
	}
	if name == "" {
		return "brink-demo.txt", "added by brink demo\n", "adds brink-demo.txt"
	}
	return name, addition, "adds a comment at the end of " + name
}

func (r demoResult) text(w io.Writer) {
	fmt.Fprintf(w, "%s %s: %s, an archive of %s\n", r.App, demoFirst, count(r.Files, "file"), human(r.Archive))
	if r.Made {
		fmt.Fprintln(w, "  generated: minified scripts and style sheets, incompressible images and fonts")
	}
	fmt.Fprintf(w, "%s %s %s\n\n", r.App, demoSecond, r.Change)
	t := newTable("lrrrl", "STEP", "BYTES SENT", "REQUESTS", "TIME", "")
	for _, s := range r.Steps {
		how := ""
		if s.Patched {
			how = "as a patch"
		}
		t.add(s.Step, human(s.Bytes), fmt.Sprint(s.Requests), seconds(s.DurationMS), how)
	}
	t.write(w)
	install, update := r.Steps[1].Bytes, r.Steps[3].Bytes
	if !r.Steps[3].Patched {
		fmt.Fprintln(w)
		fmt.Fprintln(w, "There was no patch this time, so the device downloaded the full archive, as it always can.")
		return
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "The update needed %s of the bytes of the install. The files on the device are identical to the "+
		"published ones.\n", percent(update, install))
	fmt.Fprintln(w, "Publishing takes longer than the upload: it returns when the node has built the patch that devices "+
		"will request.")
}

// percent formats part as a percentage of whole.
func percent(part, whole int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*float64(part)/float64(max(whole, 1))), ".0") + " %"
}
