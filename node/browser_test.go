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
}

// observed returns a single-page app that tells where what it saw, and loads itself anew when it is told to.
//
// The page waits before it says that it is ready: browsers write a dictionary to disk after the response has ended, and
// tell nobody when that is done.
func observed(version, hash, where string) map[string]string {
	files := spa(version, hash)
	script := "assets/app-" + hash + ".js"
	files[script] = strings.Repeat("window.answer = 42; // the same in every version\n", 9000) +
		fmt.Sprintf("window.version = %q; window.whole = true;\n", version)
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

// TestWeb_SendsPatchesToABrowser has an unmodified browser load one version and then the next.
func TestWeb_SendsPatchesToABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatal("chromium is missing, and CI must have it")
		}
		t.Skip("skipped: needs chromium")
	}
	reports, reload := make(chan report), make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	observer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			case reports <- got:
			case <-ctx.Done():
			}
		case "/reload":
			select {
			case <-reload:
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
	}))
	defer observer.Close()

	f := start(t)
	old, next := observed("1.0.0", "B7x2kQ9d", observer.URL), observed("1.1.0", "Zz8y7X6w", observer.URL)
	f.publishFiles("1.0.0", old)
	f.settle()
	was, is := []byte(old["assets/app-B7x2kQ9d.js"]), []byte(next["assets/app-Zz8y7X6w.js"])
	patch, err := bundle.EncodePatch(was, is, digest.SumSHA256(was))
	if err != nil {
		t.Fatal(err)
	}
	chromium := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), strings.Replace(f.URL(), "127.0.0.1", "localhost", 1)+"/web/"+testApp+"/production/")
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel() // ends the browser, and whoever waits for it
		_ = chromium.Wait()
	}()
	wait := func() report {
		t.Helper()
		select {
		case got := <-reports:
			return got
		case <-ctx.Done():
			t.Fatal("the browser said nothing for a minute")
			return report{}
		}
	}
	if first := wait(); first.Version != "1.0.0" || !first.Whole || first.Encoded == 0 {
		t.Fatalf("first load: %+v", first)
	}
	f.publishFiles("1.1.0", next)
	reload <- struct{}{}
	second := wait()
	t.Logf("%d bytes on the wire, the patch has %d", second.Encoded, len(patch))
	if second.Version != "1.1.0" || !second.Whole || second.Encoded == 0 || second.Encoded*10 > int64(len(patch))*13 {
		t.Errorf("second load: %+v, want version 1.1.0 by a patch of %d bytes", second, len(patch))
	}
}
