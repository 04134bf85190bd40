package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"brink/bundle"
	"brink/digest"
)

// report is what a page tells of itself.
type report struct {
	Version string // that the script says it is
	Encoded int64  // bytes of the script as they came over the wire; 0 when they came from the browser's cache
	Whole   bool   // the script ran to its end
	Text    string // of the file that was fetched
}

// observed returns a single-page app that reports what it saw, and reloads itself when it is told to.
//
// The page waits before it says that it is ready: browsers write a dictionary to disk after the response has ended, and
// tell nobody when that is done.
func observed(version, hash, where string) map[string]string {
	files := spa(version, hash)
	script := "assets/app-" + hash + ".js"
	files[script] += fmt.Sprintf("window.version = %q; window.whole = true;\n", version)
	files["index.html"] = fmt.Sprintf(`<!doctype html><script src="%s"></script><script>
addEventListener('load', async () => {
  const entry = performance.getEntriesByType('resource').find(e => e.name.endsWith('%s'));
  await new Promise(done => setTimeout(done, 2000));
  await fetch('%s/report', {method: 'POST', mode: 'no-cors', body: JSON.stringify(
    {Version: window.version, Encoded: entry.encodedBodySize, Whole: window.whole === true})});
  await fetch('%s/reload');
  location.reload();
});
</script>`, script, script, where, where)
	return files
}

// observer runs a browser and hears what its pages report.
type observer struct {
	*httptest.Server

	t       *testing.T
	ctx     context.Context
	browser string // the program
	reports chan report
	reload  chan struct{}
}

// observe returns an observer, or skips the test when there is no browser.
func observe(t *testing.T) *observer {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("chromium is missing, and CI must have it")
		}
		t.Skip("skipped: needs chromium")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	o := &observer{t: t, ctx: ctx, browser: browser, reports: make(chan report), reload: make(chan struct{})}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		switch r.URL.Path {
		case "/report":
			var got report
			raw, err := io.ReadAll(r.Body)
			if err == nil {
				err = json.Unmarshal(raw, &got)
			}
			if err != nil {
				t.Errorf("report %q: %v", raw, err)
			}
			select {
			case o.reports <- got:
			case <-ctx.Done():
			}
		case "/reload":
			select {
			case <-o.reload:
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
	}))
	t.Cleanup(func() {
		cancel()
		o.Close()
	})
	return o
}

// open has a browser load a page of a node, until the test ends.
func (o *observer) open(f *fixture, path string) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.ctx)
	chromium := exec.CommandContext(ctx, o.browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+o.t.TempDir(), strings.Replace(f.URL(), "127.0.0.1", "localhost", 1)+path)
	if err := chromium.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		cancel() // ends the browser, and whoever waits for it
		_ = chromium.Wait()
	})
}

// wait returns what a page reports next.
func (o *observer) wait() report {
	o.t.Helper()
	select {
	case got := <-o.reports:
		return got
	case <-o.ctx.Done():
		o.t.Fatal("the browser said nothing for a minute")
		return report{}
	}
}

// TestWeb_SendsPatchesToABrowser has an unmodified browser load one version and then the next.
func TestWeb_SendsPatchesToABrowser(t *testing.T) {
	o := observe(t)
	f := start(t)
	old, next := observed("1.0.0", "B7x2kQ9d", o.URL), observed("1.1.0", "Zz8y7X6w", o.URL)
	f.publishFiles("1.0.0", old)
	f.settle()
	was, is := []byte(old["assets/app-B7x2kQ9d.js"]), []byte(next["assets/app-Zz8y7X6w.js"])
	patch, err := bundle.EncodePatch(was, is, digest.SumSHA256(was))
	if err != nil {
		t.Fatal(err)
	}
	o.open(f, "/web/"+testApp+"/production/")
	if first := o.wait(); first.Version != "1.0.0" || !first.Whole || first.Encoded == 0 {
		t.Fatalf("first load: %+v", first)
	}
	f.publishFiles("1.1.0", next)
	o.reload <- struct{}{}
	second := o.wait()
	t.Logf("%d bytes on the wire, the patch has %d", second.Encoded, len(patch))
	if second.Version != "1.1.0" || !second.Whole || second.Encoded == 0 || second.Encoded*10 > int64(len(patch))*13 {
		t.Errorf("second load: %+v, want version 1.1.0 by a patch of %d bytes", second, len(patch))
	}
}

// TestFile_SendsPatchesToABrowser has a page fetch the files of one bundle and then of the next, as an unmodified
// browser does it.
func TestFile_SendsPatchesToABrowser(t *testing.T) {
	o := observe(t)
	f := start(t)
	old, next := release("1.0.0", "B7x2kQ9d"), release("1.1.0", "Zz8y7X6w")
	first, second := f.publishFiles("1.0.0", old).Bundle, f.publishFiles("1.1.0", next).Bundle
	names := map[string]string{
		"app.js": "app.js", "two words.js": "two%20words.js", "app-B7x2kQ9d.js": "app-Zz8y7X6w.js",
	}
	var page strings.Builder
	for had, name := range names {
		f.get(filePath(second, name), "Accept-Encoding", "dcz",
			"Available-Dictionary", digest.SumSHA256([]byte(old[had])).Field()) // makes the patch wanted
		fmt.Fprintf(&page, `await see(%q, %q);`, filePath(first, strings.ReplaceAll(had, " ", "%20")), filePath(second, name))
	}
	f.settle()
	f.publishFiles("1.2.0", map[string]string{"index.html": fmt.Sprintf(`<!doctype html><script type="module">
async function see(had, name) {
  await (await fetch(had)).text();
  await new Promise(done => setTimeout(done, 2000)); // see observed
  const text = await (await fetch(name)).text();
  const entry = performance.getEntriesByName(new URL(name, location).href)[0];
  await fetch('%s/report', {method: 'POST', mode: 'no-cors', body: JSON.stringify(
    {Text: text, Encoded: entry.encodedBodySize})});
}
%s</script>`, o.URL, page.String())})
	o.open(f, "/web/"+testApp+"/production/")
	for range names {
		got := o.wait()
		right := false
		for _, name := range names {
			right = right || got.Text == next[strings.ReplaceAll(name, "%20", " ")]
		}
		if !right || got.Encoded == 0 || got.Encoded > 300 {
			t.Errorf("a file of %d bytes came by %d on the wire", len(got.Text), got.Encoded)
		}
	}
}
