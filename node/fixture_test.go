package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"brink/channel"
	"brink/protocol"
	"brink/publish"
)

const testApp = "com.acme.shop"

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's cleaner of idle workers sees its end only when it wakes from a sleep of ten seconds.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// It also has one goroutine for the process that keeps the Date field.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// fixture is a node that runs, and the keys that may publish to it.
type fixture struct {
	*Node

	t     *testing.T
	root  channel.PrivateKey
	key   channel.PrivateKey
	trust []byte
	http  *http.Client
	stop  func() // ends the node and waits for it; may be called twice
	logs  *bytes.Buffer
}

func newKey(t *testing.T) channel.PrivateKey {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// trustOf returns a trust document that lets key publish com.acme.* to all channels but those that begin with "locked".
func trustOf(t *testing.T, root, key channel.PrivateKey) []byte {
	t.Helper()
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"production", "beta*"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// start runs a node on a folder of its own, until the test ends.
func start(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{
		t:    t,
		root: newKey(t),
		key:  newKey(t),
		http: &http.Client{Transport: &http.Transport{DisableCompression: true}},
		logs: &bytes.Buffer{},
	}
	f.trust = trustOf(t, f.root, f.key)
	config := Config{
		Data:   t.TempDir(),
		Listen: "127.0.0.1:0",
		Admin:  "127.0.0.1:0",
		Trust:  [][]byte{f.trust},
		Quota:  1 << 30,
		Drain:  -1,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	f.trust = config.Trust[0]
	f.run(config)
	return f
}

// run starts a node, and sees to its end.
func (f *fixture) run(config Config) {
	f.t.Helper()
	n, err := New(config)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Node = n
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		f.http.CloseIdleConnections()
		if err := <-ended; err != nil {
			f.t.Errorf("Run = %v", err)
		}
	}
	f.t.Cleanup(func() { f.stop() })
}

// restart ends the node and starts another on the same folder.
func (f *fixture) restart(change ...func(*Config)) {
	f.t.Helper()
	f.stop()
	config := f.config
	config.Listen, config.Admin = "127.0.0.1:0", "127.0.0.1:0"
	for _, c := range change {
		c(&config)
	}
	f.run(config)
}

// folder writes files to a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func www(version string) map[string]string {
	return map[string]string{
		"index.html": "<!doctype html><title>" + version + "</title>",
		"js/app.js": strings.Repeat(
			"const answer = 42; // the same in every version\n",
			6000,
		) + "export const version = '" + version + "';\n",
		"img/logo.png": string(noise(3, 150_000)),
		"файл.txt":     "scripts",
		"empty":        "",
	}
}

func (f *fixture) publisher(change ...func(*publish.Config)) *publish.Publisher {
	f.t.Helper()
	config := publish.Config{
		Node: f.URL(), Trust: f.trust, Keys: []channel.PrivateKey{f.key}, HTTP: f.http, Now: f.config.Now,
	}
	for _, c := range change {
		c(&config)
	}
	p, err := publish.New(config)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// publish publishes a version of the site to production.
func (f *fixture) publish(version string) publish.Result {
	f.t.Helper()
	r, err := f.publisher().Publish(context.Background(), publish.Request{
		Dir: folder(f.t, www(version)), App: testApp, Version: version, Channel: "production",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// do sends a request with fields given as name, value, … and returns the answer with its whole body.
func (f *fixture) do(method, path string, body io.Reader, fields ...string) (*http.Response, []byte) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, f.URL()+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := f.http.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, raw
}

func (f *fixture) get(path string, fields ...string) (*http.Response, []byte) {
	f.t.Helper()
	return f.do(http.MethodGet, path, nil, fields...)
}

// wantProblem checks that an answer says no in the way it should.
func wantProblem(t *testing.T, resp *http.Response, body []byte, status int, code string) {
	t.Helper()
	p := protocol.ReadProblem(resp.StatusCode, body)
	if p.Status != status || p.Code != code || p.Message == "" {
		t.Errorf("answer is %d %s, want %d %s", resp.StatusCode, body, status, code)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("a problem has type %q", got)
	}
}
