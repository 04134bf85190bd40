package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"brink/digest"
	"brink/origin/bucket/buckettest"
)

// bucketName is that of the bucket in the real S3 server.
const bucketName = "acme-ota"

// bucket is an S3 server behind a door that counts what goes through, and that can do harm.
type bucket struct {
	door    *httptest.Server
	data    string // folder in which the server keeps objects as files
	program string
	address string // of the server
	process *exec.Cmd

	harm  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) (done bool)]
	mu    sync.Mutex
	calls map[string]int // by method, path and range
}

// openBucket starts the server, and leaves its credentials where programs of the test find them.
func openBucket(t *testing.T, p *program) *bucket {
	t.Helper()
	b := &bucket{program: buckettest.Gateway(t), data: t.TempDir(), calls: map[string]int{}}
	credentials := p.file(filepath.Join(".aws", "credentials"))
	for _, dir := range []string{filepath.Join(b.data, bucketName), filepath.Dir(credentials)} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n"
	if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = free.Addr().String()
	free.Close()
	proxy := &httputil.ReverseProxy{
		// The host is signed, so it stays as it was asked for.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: b.address})
			r.Out.Host = r.In.Host
		},
		Transport:    &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	b.door = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.calls[strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))]++
		b.mu.Unlock()
		if harm := b.harm.Load(); harm == nil || !(*harm)(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(b.door.Close)
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

// start runs the server and waits until it answers.
func (b *bucket) start(t *testing.T) {
	t.Helper()
	b.process = exec.Command(b.program, "--port", b.address, "--access", "key", "--secret", "secret",
		"--region", "us-east-1", "posix", b.data)
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the S3 server answers", func() bool {
		resp, err := quiet.Get("http://" + b.address + "/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}

// stop ends the server, as a kill does.
func (b *bucket) stop() {
	_ = b.process.Process.Kill() // it may have ended
	_ = b.process.Wait()         // it ends by the signal
}

// harms has the door answer in the server's place; nil ends it.
func (b *bucket) harms(do func(w http.ResponseWriter, r *http.Request) bool) {
	if do == nil {
		b.harm.Store(nil)
		return
	}
	b.harm.Store(&do)
}

// count returns how many requests were made, by method, path and range, since it was called last.
func (b *bucket) count() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := maps.Clone(b.calls)
	clear(b.calls)
	return calls
}

// url returns the origin at a prefix of the bucket.
func (b *bucket) url(prefix string) string {
	return "s3://" + bucketName + "/" + prefix + "?region=us-east-1&endpoint=" + b.door.URL
}

// urlAt is url for nodes in a region of a lab, to which the door is opened.
func (b *bucket) urlAt(t *testing.T, l *lab, region int) string {
	t.Helper()
	listener, err := net.Listen("tcp", l.address(region)+":0")
	if err != nil {
		t.Fatal(err)
	}
	door := &http.Server{Handler: b.door.Config.Handler, ReadHeaderTimeout: time.Minute}
	var open sync.WaitGroup
	open.Go(func() { _ = door.Serve(listener) }) // it ends when it is closed
	t.Cleanup(func() {
		door.Close()
		open.Wait()
	})
	return strings.Replace(b.url("here"), b.door.URL, "http://"+listener.Addr().String(), 1)
}

// read returns the object at a key below a prefix, "" if there is none.
func (b *bucket) read(prefix, key string) string {
	raw, _ := os.ReadFile(filepath.Join(b.data, bucketName, prefix, key)) // it may not be there yet
	return string(raw)
}

// spoil changes a byte in each object below a prefix whose key holds text, and returns what makes them good again.
func (b *bucket) spoil(t *testing.T, prefix, text string) (mend func()) {
	t.Helper()
	good := map[string][]byte{}
	root := filepath.Join(b.data, bucketName, prefix)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(path[len(root):], text) {
			return err
		}
		if good[path], err = os.ReadFile(path); err != nil {
			return err
		}
		bad := append([]byte(nil), good[path]...)
		for at := len(bad) / 8; at < len(bad); at += max(1, len(bad)/4) {
			bad[at] ^= 1
		}
		// What is wrong in the map of a bundle may do no harm: what comes is checked by digests. That a pack is not under
		// the name that it gives does.
		if _, packs, ok := bytes.Cut(bad, []byte(`"packs":["`)); ok {
			packs[0] ^= 1
		}
		return rewrite(path, bad)
	})
	if err != nil || len(good) == 0 {
		t.Fatalf("%d objects are spoilt: %v", len(good), err)
	}
	return func() {
		for path, raw := range good {
			if err := rewrite(path, raw); err != nil {
				t.Error(err)
			}
		}
	}
}

// rewrite replaces the bytes of a file, and nothing else that the server has noted of it.
func rewrite(path string, raw []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(raw)
	return err
}

// withOrigin returns the flags of a node with an origin.
func withOrigin(url string, flags ...string) []string {
	return append([]string{"--origin", url, "--origin-poll", "1s", "--patch-releases", "0", "--prepare-wait", "0s"}, flags...)
}

// manifestOf returns the manifest that a node has in force for production.
func manifestOf(n *node) string { return (&member{node: n}).manifest(production) }

// tryArchive asks for an archive, which must be right or not come at all.
func tryArchive(client *http.Client, n *node, bundle string) (status int, err error) {
	resp, err := client.Get(n.url + "/v1/bundles/" + bundle + "/archive")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	h := digest.NewHasher()
	if _, err := io.Copy(h, resp.Body); err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode == http.StatusOK && h.Digest().String() != bundle {
		return resp.StatusCode, fmt.Errorf("wrong bytes, of digest %s", h.Digest())
	}
	return resp.StatusCode, nil
}

// says has the door say no to whoever writes, as a store does.
func says(status int, code string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // what comes is of no interest
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the store says %s</Message></Error>", code, code)
		return true
	}
}
