package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// webView is the server of a page that runs the real plugin in a browser. It does what a phone does natively.
type webView struct {
	*httptest.Server

	reports chan []string
	mu      sync.Mutex
	fetched []string // paths of files
}

func newWebView(t *testing.T, modules string) *webView {
	t.Helper()
	v := &webView{reports: make(chan []string, 1)}
	page := http.FileServer(http.Dir(filepath.Join("testdata", "appflow")))
	library := http.FileServer(http.Dir(modules))
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<!doctype html><script src="page.js"></script>`) // a page that is gone needs none
		case r.URL.Path == "/report":
			var outcomes []string
			if err := json.NewDecoder(r.Body).Decode(&outcomes); err != nil {
				t.Errorf("report: %v", err)
			}
			v.reports <- outcomes
		case r.URL.Path == "/download":
			v.download(w, r)
		case strings.HasPrefix(r.URL.Path, "/modules/"):
			http.StripPrefix("/modules/", library).ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/www/"):
			http.NotFound(w, r) // the app holds no list of its files
		default:
			page.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(v.Close)
	return v
}

// download fetches a file as native code does.
func (v *webView) download(w http.ResponseWriter, r *http.Request) {
	var file string
	err := json.NewDecoder(r.Body).Decode(&file)
	if err == nil {
		var answer *http.Response
		if answer, err = http.Get(file); err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				http.Error(w, answer.Status, http.StatusOK)
				return
			}
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusOK)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetched = append(v.fetched, file)
	_, _ = io.WriteString(w, "ok") // a page that is gone needs none
}

// closedTo returns a node that does not let other origins read the answers to what.
func closedTo(t *testing.T, node string, what func(*http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(answer *http.Response) error {
		if what(answer.Request) {
			answer.Header.Del("Access-Control-Allow-Origin")
		}
		return nil
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return front.URL
}

// TestAppflow_RealPluginInABrowser has a browser hold the answers of a node to CORS: on the preflight, the check, the
// redirect and the list of files. Each of them is also taken away, so that it shows that the browser looks.
func TestAppflow_RealPluginInABrowser(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	browser := need(t, "chromium")
	modules := ionicModules(t)
	p := begin(t)
	n := p.serve(t, "data", "--appflow-app", "abcd1234="+app)
	p.publish(t, n.url, tree{"index.html": "first", "js/app.js": "first"}.write(t, p.file("first")), "1.0.0")

	view := newWebView(t, modules)
	path := func(method, part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, part) }
	}
	hosts := []string{
		n.url + "/appflow",
		closedTo(t, n.url, path("OPTIONS", "/check-device")) + "/appflow",
		closedTo(t, n.url, path("POST", "/check-device")) + "/appflow",
		closedTo(t, n.url, path("GET", "/snapshots/")) + "/appflow",
		closedTo(t, n.url, path("GET", "/pro-manifest.json")) + "/appflow",
		n.url + "/appflow/nowhere",
		n.url + "/appflow",
	}
	want := []string{
		"state ready", "Failed to fetch", "Failed to fetch", "Failed to fetch", "Failed to fetch",
		"Error Status 404: There is nothing at this path (the host ends in /appflow)", "state ready",
	}
	raw, err := json.Marshal(hosts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	chromium := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(),
		strings.Replace(view.URL, "127.0.0.1", "localhost", 1)+"/?hosts="+url.QueryEscape(string(raw)))
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel() // ends the browser
		_ = chromium.Wait()
	}()
	select {
	case got := <-view.reports:
		if !slices.Equal(got, want) {
			t.Errorf("the plugin says\n%q, want\n%q", got, want)
		}
	case <-ctx.Done():
		t.Fatal("the browser said nothing for a minute")
	}
	view.mu.Lock()
	defer view.mu.Unlock()
	if len(view.fetched) != 4 { // two files, by the first host and by the last
		t.Errorf("files fetched: %q", view.fetched)
	}
}
