package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate stands between devices and a node: it sees what passes, and cuts answers when it is told to.
type gate struct {
	url    string
	events chan told // what devices told of themselves, once the node has taken it

	mu   sync.Mutex
	seen []passed
	cuts map[string]int64 // by the end of a path: bytes after which the next answer to it ends
}

// passed is one request that was answered.
type passed struct {
	method, path, query, span string
	status                    int
	request, answer           string // the answer only of JSON
}

// told is one event of a device.
type told struct {
	Action string `json:"action"`
}

func newGate(t *testing.T, n *node) *gate {
	t.Helper()
	target, err := url.Parse(n.url)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{events: make(chan told, 10_000), cuts: map[string]int64{}}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the node then names this address to the device
			body, err := io.ReadAll(r.In.Body)
			if err != nil {
				body = nil // the node will say so
			}
			r.Out.Body = &remembered{Reader: bytes.NewReader(body), all: body}
		},
		ModifyResponse: g.pass,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// remembered is the body of a request, to be looked at again.
type remembered struct {
	*bytes.Reader

	all []byte
}

func (*remembered) Close() error { return nil }

// pass notes an answer, and cuts it.
func (g *gate) pass(resp *http.Response) error {
	r := resp.Request
	one := passed{
		method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, span: r.Header.Get("Range"), status: resp.StatusCode,
	}
	if body, ok := r.Body.(*remembered); ok {
		one.request = string(body.all)
	}
	if resp.Header.Get("Content-Type") == "application/json" && resp.Header.Get("Content-Encoding") == "" {
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		one.answer = string(raw)
		resp.Body = io.NopCloser(bytes.NewReader(raw))
	}
	g.mu.Lock()
	g.seen = append(g.seen, one)
	for end, after := range g.cuts {
		if strings.HasSuffix(r.URL.Path, end) {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, after), broken{}), resp.Body}
			delete(g.cuts, end)
		}
	}
	g.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/stats") && resp.StatusCode == http.StatusOK {
		var many []told
		if json.Unmarshal([]byte(one.request), &many) != nil {
			many = make([]told, 1)
			if json.Unmarshal([]byte(one.request), &many[0]) != nil {
				return nil
			}
		}
		for _, event := range many {
			g.events <- event
		}
	}
	return nil
}

// broken is where an answer ends too early.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut by the test") }

// cut has the next answer to a path that ends so end after so many bytes.
func (g *gate) cut(end string, after int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cuts[end] = after
}

// since returns what passed of a path that has the text in it, and forgets all that passed.
func (g *gate) since(part string) []passed {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []passed
	for _, one := range g.seen {
		if strings.Contains(one.path, part) {
			found = append(found, one)
		}
	}
	g.seen = nil
	return found
}

// action waits until the node was told of an action.
func (g *gate) action(t *testing.T, action string) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case event := <-g.events:
			if event.Action == action {
				return
			}
		case <-late.C:
			t.Fatalf("no device told %s", action)
		}
	}
}
