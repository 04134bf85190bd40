package e2e_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brink/protocol"
)

// hostileNode is a node in an attacker's hands: it passes on what another node says, except where its owner answers.
type hostileNode struct {
	url string

	mu    sync.Mutex
	calls []string // method and path
}

// owner answers in the node's place, and reports whether it did.
type owner func(w http.ResponseWriter, r *http.Request) (done bool)

// subvert puts a hostile node in front of one. It ends with the test.
func subvert(t *testing.T, target *node, answers ...owner) *hostileNode {
	t.Helper()
	to, err := url.Parse(target.url)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostileNode{}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:    &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.calls = append(h.calls, r.Method+" "+r.URL.Path)
		h.mu.Unlock()
		for _, answer := range answers {
			if answer(w, r) {
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections() // of clients that still wait
		server.Close()
	})
	h.url = server.URL
	return h
}

// wantReads checks that the node was asked, and that nobody sent it anything.
func (h *hostileNode) wantReads(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) == 0 {
		t.Error("the hostile node was not asked")
	}
	for _, call := range h.calls {
		if !strings.HasPrefix(call, http.MethodGet+" ") && !strings.HasPrefix(call, http.MethodHead+" ") {
			t.Errorf("the hostile node was sent %s", call)
		}
	}
}

// isCheck, isTrust, isManifest and isArchive say which request it is.

func isCheck(r *http.Request) bool { return r.URL.Path == protocol.CheckPath(app) }

func isTrust(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, protocol.TrustPath("acme")) }

func isManifest(r *http.Request) bool { return r.URL.Path == protocol.ChannelPath(app, production) }

func isArchive(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/archive") }

// replay answers requests of a kind with the same bytes, always.
func replay(is func(*http.Request) bool, body string) owner {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !is(r) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // the client may have left
		return true
	}
}

// refuse answers requests of a kind as a node does that cannot serve.
func refuse(is func(*http.Request) bool, status int, code string) owner {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !is(r) {
			return false
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"no"}`, status, code) // the client may have left
		return true
	}
}

// divert passes requests of a kind on to another node.
func divert(t *testing.T, is func(*http.Request) bool, to *node) owner {
	t.Helper()
	other := subvert(t, to)
	target, err := url.Parse(other.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	return func(w http.ResponseWriter, r *http.Request) bool {
		if is(r) {
			proxy.ServeHTTP(w, r)
			return true
		}
		return false
	}
}

// checkAnswer returns what a node answers to a new device.
func checkAnswer(t *testing.T, n *node, app, channel string) string {
	t.Helper()
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	request := strings.NewReader(`{"channel":"` + channel + `"}`)
	resp, err := client.Post(n.url+protocol.CheckPath(app), "application/json", request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("check: status %d, %v: %s", resp.StatusCode, err, raw)
	}
	return string(raw)
}

// thief makes an org of the same name with keys of its own, whose trust document lists the real publisher too. Its
// trust document has the version that is asked for.
func (p *program) thief(t *testing.T, version int) *program {
	t.Helper()
	other := &program{path: p.path, dir: t.TempDir(), trust: "self-made.trust.json", key: "thief.key"}
	other.must(t, "key", "new", "root.key")
	other.must(t, "key", "new", other.key)
	other.must(t, "org", "new", "acme", "--root", "root.key", "--publisher", other.key+".pub",
		"--publisher", p.file(p.key+".pub"), "--apps", "com.acme.*", "--out", other.trust)
	for range version - 1 {
		other.must(t, "org", "update", other.trust, "--root", "root.key", "--channels", "*")
	}
	return other
}

// theirs is a file that only releases of attackers have.
const theirs = "theirs.js"

// loot returns what attackers publish.
func loot() tree { return tree{"index.html": "<script src=theirs.js></script>", theirs: "steal()"} }

// fetchFrom has a device ask several nodes in turn.
func (p *program) fetchFrom(t *testing.T, device string, urls ...string) outcome {
	t.Helper()
	args := p.fetchArgs(urls[0], device)
	for _, url := range urls[1:] {
		args = append(args, "--node", url)
	}
	return p.run(t, args...)
}

// wantRefused checks that a device was refused all that the nodes have, and runs what it ran before; nil is nothing.
func (p *program) wantRefused(t *testing.T, device string, before tree, urls ...string) failure {
	t.Helper()
	o := p.fetchFrom(t, device, urls...)
	if o.code == 0 {
		t.Fatalf("a device took what the hostile node has: %s", o.stdout)
	}
	p.wantRuns(t, device, before)
	return failureOf(t, o)
}

// wantHonest checks that a device which asks hostile nodes before the honest one ends with the release of the latter.
func (p *program) wantHonest(t *testing.T, device, version string, want tree, urls ...string) {
	t.Helper()
	o := p.fetchFrom(t, device, urls...)
	if o.code != 0 {
		t.Fatalf("with an honest node the device ended with %d: %s", o.code, o.stderr)
	}
	if got := decode[fetched](t, o.stdout); got.Version != version {
		t.Errorf("the device has %q, want %s", got.Version, version)
	}
	p.wantRuns(t, device, want)
}

// wantRuns checks what a device runs, and that none of an attacker's files is in its folder.
func (p *program) wantRuns(t *testing.T, device string, want tree) {
	t.Helper()
	current := filepath.Join(p.file(device), "current")
	if _, err := os.Lstat(current); want == nil && err == nil {
		t.Errorf("the device runs %v", readTree(t, current))
	}
	if want != nil {
		wantTree(t, p.file(device), want)
	}
	for name := range walk(t, p.file(device)) {
		if filepath.Base(name) == theirs {
			t.Errorf("the device has the attacker's %s", name)
		}
	}
}

// sizeOf returns how many bytes the files of a folder have, which a program may be changing meanwhile.
func sizeOf(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // it is gone again
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}
