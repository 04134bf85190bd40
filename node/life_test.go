package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"brink/channel"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

func (f *fixture) admin(path string) (int, string) {
	f.t.Helper()
	resp, err := f.http.Get("http://" + f.AdminAddr() + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestNode_TellsOperatorsHowItIs(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	for _, path := range []string{"/livez", "/readyz"} {
		if resp, body := f.get(path); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
		if status, body := f.admin(path); status != 200 {
			t.Errorf("%s for operators: %d %s", path, status, body)
		}
	}
	status, text := f.admin("/metrics")
	for _, want := range []string{
		"brink_ready 1", "brink_channels 1", "brink_store_bundles 1", `brink_http_requests_total{class="2xx",route="upload"} 1`,
		"brink_panics_total 0", "brink_store_read_only 0", "brink_store_poisoned 0", "brink_connections_open ", "go_goroutines ",
	} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("metrics (%d) lack %q", status, want)
		}
	}
	if status, text := f.admin("/store"); status != 200 || !strings.Contains(text, `"bundles":1`) {
		t.Errorf("store: %d %s", status, text)
	}
	if status, _ := f.admin("/debug/pprof/"); status != 200 {
		t.Errorf("pprof: %d", status)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/store"} {
		if resp, _ := f.get(path); resp.StatusCode != 404 {
			t.Errorf("the public listener serves %s", path)
		}
	}
}

func TestNode_SurvivesAPanic(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	server := &fasthttp.RequestCtx{}
	server.Request.SetRequestURI("/readyz")
	why := f.health.reason
	f.health.reason = func() []string { panic("test") }
	f.handle(server)
	f.health.reason = why
	if server.Response.StatusCode() != 500 {
		t.Errorf("a panic was answered with %d", server.Response.StatusCode())
	}
	if _, text := f.admin("/metrics"); !strings.Contains(text, "brink_panics_total 1") {
		t.Error("the panic was not counted")
	}
	wantProblemBody(t, server.Response.Body(), protocol.CodeInternal)
}

func wantProblemBody(t *testing.T, body []byte, code string) {
	t.Helper()
	if p := protocol.ReadProblem(500, body); p.Code != code || strings.Contains(p.Message, "test") {
		t.Errorf("problem is %s, want %s and no internals", body, code)
	}
}

// raw sends bytes as they are and returns the status line of the answer, "" when the connection is closed without one.
func (f *fixture) raw(request string) string {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.Addr())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return ""
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestNode_AnswersMalformedRequests(t *testing.T) {
	f := start(t)
	for name, test := range map[string]struct{ request, want string }{
		"garbage":         {"this is not HTTP\r\n\r\n", "HTTP/1.1 400"},
		"two lengths":     {"POST /v1/chunks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400"},
		"smuggled":        {"POST /v1/chunks HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400"},
		"no host":         {"GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
		"long head":       {"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 20<<10) + "\r\n\r\n", "HTTP/1.1 431"},
		"negative length": {"POST /v1/chunks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"},
		"broken chunking": {"POST /v1/chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400"},
		"a good one":      {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"},
		"too many in one": {"POST /v1/chunks HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n" + strings.Repeat(" ", 1<<20), "HTTP/1.1 413"},
	} {
		if got := f.raw(test.request); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %s", name, got, test.want)
		}
	}
}

func TestNode_DrainsInOrder(t *testing.T) {
	f := start(t, func(c *Config) { c.Hot = -1; c.Drain = time.Millisecond })
	files := www("1.0.0")
	files["large.bin"] = string(noise(9, 40<<20))
	r, err := f.publisher().
		Publish(context.Background(), publish.Request{Dir: folder(t, files), App: testApp, Version: "1.0.0", Channel: "production"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.http.Get(f.URL() + protocol.ArchivePath(r.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The response is larger than what sockets buffer: the request runs while the node is told to stop.
	var stopping sync.WaitGroup
	stopping.Go(f.stop)
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != r.Bytes {
		t.Errorf("a request that ran when the node stopped got %d bytes of %d, %v", n, r.Bytes, err)
	}
	stopping.Wait()
	if _, err := net.Dial("tcp", f.Addr()); err == nil {
		t.Error("the node accepts after it stopped")
	}
}

// TestNode_ResetsNoRequestWhenItStops has clients that reuse connections and ask as fast as they can.
func TestNode_ResetsNoRequestWhenItStops(t *testing.T) {
	f := start(t, func(c *Config) { c.Drain = 300 * time.Millisecond })
	const clients = 8
	var begun, done sync.WaitGroup
	begun.Add(clients)
	for range clients {
		done.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for i := 0; ; i++ {
				// A POST, which the client does not repeat when its connection turns out to be closed.
				reused := false
				req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
				}), http.MethodPost, f.URL()+protocol.CheckPath(testApp), strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if i == 0 {
					begun.Done()
				}
				if err != nil { // the kernel itself ends connections that wait to be accepted when the socket closes
					if reused || !f.draining.Load() {
						t.Errorf("request %d: %v", i, err)
					}
					return
				}
				draining := f.draining.Load()
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if !draining {
					continue
				}
				// This answer may have been on its way when the drain began; the next one was not.
				if resp, err := client.Get(f.URL() + "/livez"); err == nil {
					if !resp.Close {
						t.Error("an answer of a node that drains keeps the connection")
					}
					_ = resp.Body.Close()
				}
			}
		})
	}
	begun.Wait()
	f.stop()
	done.Wait()
}

func TestNode_StopsWhenItWasToldToBeforeItBegan(t *testing.T) {
	for range 20 {
		start(t).stop() // must return, although the server may not have begun to accept
	}
}

func TestNode_CutsWhatDoesNotFinish(t *testing.T) {
	f := start(t, func(c *Config) { c.Hot = -1; c.Finish = 50 * time.Millisecond })
	files := map[string]string{"large.bin": string(noise(9, 40<<20))}
	r, err := f.publisher().
		Publish(context.Background(), publish.Request{Dir: folder(t, files), App: testApp, Version: "1.0.0", Channel: "production"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.http.Get(f.URL() + protocol.ArchivePath(r.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f.stop() // must return although nobody reads
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a response that was cut looks whole")
	}
}

func TestNode_IsAloneOnItsFolder(t *testing.T) {
	f := start(t)
	config := f.config
	config.Listen, config.Admin = "127.0.0.1:0", ""
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), store.ErrLocked.Error()) {
		t.Errorf("a second node on the folder: %v, want %v", err, store.ErrLocked)
	}
}

func TestNode_LeavesOutWhatTrustNoLongerAllows(t *testing.T) {
	var logs lockedBuffer
	f := start(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
	f.publish("1.0.0")
	trust, err := channel.ParseTrust(f.trust, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	next := trust.Next()
	other := newKey(t)
	next.Issued, next.Keys = time.Now(), []channel.PublicKey{other.Public()}
	next.Roles[0].Keys = []string{other.Public().ID()}
	raw, err := channel.NewTrust(next, f.root)
	if err != nil {
		t.Fatal(err)
	}
	f.restart(func(c *Config) { c.Trust = [][]byte{raw} })
	resp, body := f.do(http.MethodPost, protocol.CheckPath(testApp), strings.NewReader(`{"channel":"production"}`))
	wantProblem(t, resp, body, 404, protocol.CodeUnknownChannel)
	if _, body := f.get("/readyz"); !strings.Contains(string(body), "left out") || !strings.Contains(logs.String(), "channel left out") {
		t.Errorf("the operator is not told: %s", body)
	}

	f.key = other
	request := publish.Request{Dir: folder(t, www("1.0.1")), App: testApp, Version: "1.0.1", Channel: "production"}
	if _, err := f.publisher().Publish(context.Background(), request); !errors.Is(err, publish.ErrLapsed) {
		t.Errorf("publish on top of it: %v, want ErrLapsed", err)
	}
	request.Restart = true
	if _, err := f.publisher().Publish(context.Background(), request); !errors.Is(err, publish.ErrSequence) {
		t.Errorf("publish anew from a sequence that nobody vouches for: %v, want ErrSequence", err)
	}
	sure := f.publisher(func(c *publish.Config) { c.ExpectSequence = new(uint64(1)) })
	if r, err := sure.Publish(context.Background(), request); err != nil || r.Sequence != 2 {
		t.Errorf("publish anew: %+v, %v; want sequence 2", r, err)
	}
	if resp, body := f.do(http.MethodPost, protocol.CheckPath(testApp), strings.NewReader(`{"channel":"production"}`)); resp.StatusCode != 200 {
		t.Errorf("after that: %d %s", resp.StatusCode, body)
	}
	request.Version, request.Restart, request.Above = "1.0.2", false, 100
	if r, err := f.publisher().Publish(context.Background(), request); err != nil || r.Sequence != 101 {
		t.Errorf("publish above 100: %+v, %v", r, err)
	}
}

func TestNode_NamesNothingThatItHasLost(t *testing.T) {
	f := start(t)
	f.publish("1.0.0")
	f.stop()
	if err := os.RemoveAll(filepath.Join(f.config.Data, "chunks")); err != nil {
		t.Fatal(err)
	}
	f.restart()
	resp, body := f.do(http.MethodPost, protocol.CheckPath(testApp), strings.NewReader(`{"channel":"production"}`))
	wantProblem(t, resp, body, 503, protocol.CodeDamaged)
	f.publish("1.0.0") // the same again heals it
	if resp, body := f.do(http.MethodPost, protocol.CheckPath(testApp), strings.NewReader(`{"channel":"production"}`)); resp.StatusCode != 200 {
		t.Errorf("after publishing again: %d %s", resp.StatusCode, body)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestNode_WritesAnAccessLog(t *testing.T) {
	var logs lockedBuffer
	f := start(t, func(c *Config) { c.AccessLog = 1; c.Logger = slog.New(slog.NewJSONHandler(&logs, nil)) })
	f.get("/v1/apps/" + testApp)
	f.stop()
	var line struct {
		Msg, Method, Path, Route string
		Status                   int
	}
	for text := range strings.SplitSeq(logs.String(), "\n") {
		if strings.Contains(text, `"msg":"request"`) {
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if line.Method != "GET" || line.Path != "/v1/apps/"+testApp || line.Route != "app" || line.Status != 200 {
		t.Errorf("access log has %+v", line)
	}
}

func TestNode_ServesTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, func(c *Config) {
		c.CertFile, c.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	})
	f.http.Transport.(*http.Transport).TLSClientConfig = pool
	if !strings.HasPrefix(f.URL(), "https://") {
		t.Errorf("URL = %s", f.URL())
	}
	r := f.publish("1.0.0")
	if resp, body := f.get(protocol.ArchivePath(r.Bundle)); resp.StatusCode != 200 || int64(len(body)) != r.Bytes {
		t.Errorf("archive over TLS: %d with %d bytes", resp.StatusCode, len(body))
	}
}

func TestNode_SaysThatTheDiskIsFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	f := start(t, func(c *Config) { c.freeSpace = func(string) (uint64, error) { return free.Load(), nil } })
	free.Store(1 << 10)
	_, err := f.publisher().
		Publish(context.Background(), publish.Request{Dir: folder(t, www("1.0.0")), App: testApp, Version: "1.0.0", Channel: "production"})
	if protocol.CodeOf(err) != protocol.CodeReadOnly {
		t.Errorf("publish to a full disk: %v, want %s", err, protocol.CodeReadOnly)
	}
	resp, body := f.get("/readyz")
	if resp.StatusCode != 200 || !strings.Contains(string(body), "read-only") {
		t.Errorf("readyz: %d %s, want ready, with the reason", resp.StatusCode, body)
	}
	free.Store(1 << 40)
	f.publish("1.0.0") // it takes writes again by itself
}

func TestConfig_ValidateNamesEverything(t *testing.T) {
	err := (&Config{Listen: "nowhere", CertFile: "x", AccessLog: 2, Quota: -1}).Validate()
	for _, want := range []string{"data folder", "trust document", "nowhere", "certificate", "share of logged", "quota"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want it to name %q", err, want)
		}
	}
}

func ExampleReadiness() {
	raw, _ := json.Marshal(Readiness{Ready: true, Reasons: []string{"read-only: disk is full"}})
	fmt.Println(string(raw))
	// Output: {"ready":true,"reasons":["read-only: disk is full"]}
}
