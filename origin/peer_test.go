package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/origin/sign"
	"brink/protocol"
	"brink/store/storetest"
)

// fakeNode answers like a node that has one bundle. spoil, if set, changes what a stream of chunks carries; serve, if
// set, answers instead.
type fakeNode struct {
	*httptest.Server

	t      *testing.T
	bundle *storetest.Bundle
	ring   *sign.Ring
	hops   string
	lacks  map[digest.Digest]bool
	spoil  func(*bundle.Frame)
	serve  func(w http.ResponseWriter, r *http.Request) (done bool)
}

func newFakeNode(t *testing.T, b *storetest.Bundle) *fakeNode {
	t.Helper()
	ring, err := sign.NewRing("test", []byte("a key of the fleet"))
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, bundle: b, ring: ring, hops: "1"}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	return n
}

// peer returns the node as a source.
func (n *fakeNode) peer() *Peer {
	n.t.Helper()
	client := NewClient()
	n.t.Cleanup(client.CloseIdleConnections)
	p, err := NewPeer(PeerConfig{Name: n.URL, URL: n.URL + "/", Ring: n.ring, HTTP: client})
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked has gone
	}
	request := sign.Request{To: n.URL, Method: r.Method, Target: r.RequestURI, Body: digest.Sum(body)}
	if err := n.ring.Verify(request, r.Header.Get("Authorization"), time.Now()); err != nil {
		n.t.Errorf("%s %s: %v", r.Method, r.RequestURI, err)
	}
	if got := r.Header.Get(HopsField); got != n.hops {
		n.t.Errorf("%s %s has come through %q nodes, want %s", r.Method, r.RequestURI, got, n.hops)
	}
	if n.serve != nil && n.serve(w, r) {
		return
	}
	id := n.bundle.ID()
	switch r.URL.Path {
	case protocol.IndexPath(id):
		_, _ = w.Write(n.bundle.Index.Encode())
	case IntentPath(id):
		_, _ = io.WriteString(w, "an intent")
	case "/v1/chunks":
		var ask protocol.Batch
		if err := json.Unmarshal(body, &ask); err != nil || len(ask.Chunks) > protocol.MaxBatch {
			n.t.Errorf("a batch of %d chunks: %v", len(ask.Chunks), err)
		}
		n.send(w, ask.Chunks)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":"unknown_bundle","message":"it is not here"}`)
	}
}

func (n *fakeNode) send(w io.Writer, chunks []digest.Digest) {
	stream := bundle.NewStreamWriter(w)
	for _, d := range chunks {
		f, ok := n.bundle.Frames[d]
		if !ok || n.lacks[d] {
			f = bundle.Frame{Digest: d, Encoding: bundle.Absent}
		} else if n.spoil != nil {
			f.Data = append([]byte{}, f.Data...)
			n.spoil(&f)
		}
		if err := stream.Write(f); err != nil {
			return // who asked has had enough
		}
	}
	_ = stream.Close()
}

func TestPeer_SendsBundles(t *testing.T) {
	b := storetest.Random(t, 300, 2<<20)
	n := newFakeNode(t, b)
	want := b.Index.Encode()
	raw, intent, err := n.peer().Bundle(t.Context(), b.ID(), int64(len(want)))
	if err != nil || !bytes.Equal(raw, want) || string(intent) != "an intent" {
		t.Fatalf("Bundle = %q, %q, %v", raw, intent, err)
	}
	f := fill(t, newFakeStore(), nil, n.peer())
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	n.hops = "2"
	other := storetest.Random(t, 301, 1000)
	n.bundle = other
	if err := f.Fill(WithHops(t.Context(), 1), other.ID()); err != nil {
		t.Fatal(err)
	}
	if err := f.Fill(WithHops(t.Context(), 1), idOf(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a bundle that the node does not have: %v", err)
	}
	// A bundle without an intent is none the worse.
	n.hops = "1"
	for status, body := range map[int]string{
		http.StatusNotFound: "", http.StatusUnauthorized: `{"code":"unsigned","message":"no"}`,
	} {
		n.serve = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/intent") {
				http.Error(w, body, status)
				return true
			}
			return false
		}
		if _, intent, err := n.peer().Bundle(t.Context(), other.ID(), bundle.MaxIndex); err != nil || intent != nil {
			t.Errorf("without an intent, status %d: %q, %v", status, intent, err)
		}
	}
}

func TestPeer_SaysNoMoreThanItHas(t *testing.T) {
	b := storetest.Random(t, 302, 1<<20)
	part, whole := newFakeNode(t, b), newFakeNode(t, b)
	part.lacks = map[digest.Digest]bool{}
	for d := range b.Frames {
		if part.lacks[d] = true; len(part.lacks) == 3 {
			break
		}
	}
	f := fill(t, newFakeStore(), nil, part.peer(), whole.peer())
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if got := f.Stats().Sources[whole.URL].Chunks; got != 3 {
		t.Errorf("the second node sent %d chunks, want the 3 that the first lacks", got)
	}
}

func TestPeer_ReportsAFailingNode(t *testing.T) {
	b := storetest.Random(t, 303, 1<<20)
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	chunks := func(do func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			do(w, r)
			return true
		}
	}
	for name, spoil := range map[string]func(*fakeNode){
		"down":           func(n *fakeNode) { n.Close() },
		"busy":           func(n *fakeNode) { n.serve = answer(503, `{"code":"busy","message":"too much to do"}`) },
		"full":           func(n *fakeNode) { n.serve = answer(507, "") },
		"another server": func(n *fakeNode) { n.serve = answer(200, "<html>") },
		"elsewhere": func(n *fakeNode) {
			n.serve = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
				return true
			}
		},
		"flipped": func(n *fakeNode) { n.spoil = func(f *bundle.Frame) { f.Data[0] ^= 1 } },
		"no stream": func(n *fakeNode) {
			n.serve = chunks(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello, this is no stream") })
		},
		"cut": func(n *fakeNode) {
			n.serve = chunks(func(w http.ResponseWriter, _ *http.Request) {
				var half strings.Builder
				n.send(&half, []digest.Digest{b.Index.Files[0].Digest, b.Index.Files[1].Digest})
				_, _ = io.WriteString(w, half.String()[:half.Len()-3])
			})
		},
		"cut off": func(n *fakeNode) {
			n.serve = chunks(func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
		},
		"silent": func(n *fakeNode) {
			n.serve = chunks(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := newFakeNode(t, b), newFakeNode(t, b)
			spoil(bad)
			f := fill(t, newFakeStore(), func(c *Config) { c.Stall = time.Second }, bad.peer(), good.peer())
			if err := f.Fill(t.Context(), b.ID()); err != nil {
				t.Fatal(err)
			}
			got := f.Stats().Sources
			if got[bad.URL].Errors+got[bad.URL].Faults+got[bad.URL].Stalls != 1 || got[good.URL].Chunks == 0 {
				t.Errorf("sources: %+v", got)
			}
		})
	}
}

func TestPeer_StopsWithItsContext(t *testing.T) {
	b := storetest.Random(t, 304, 1000)
	n := newFakeNode(t, b)
	asked := make(chan struct{})
	n.serve = func(_ http.ResponseWriter, r *http.Request) bool {
		close(asked)
		<-r.Context().Done()
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, _, err := n.peer().Bundle(ctx, b.ID(), bundle.MaxIndex); !errors.Is(err, context.Canceled) {
		t.Errorf("Bundle = %v", err)
	}
}

func TestNewPeer_RefusesOtherAddresses(t *testing.T) {
	for _, address := range []string{"", "node", "ftp://node", "http://", "://"} {
		if _, err := NewPeer(PeerConfig{Name: "a", URL: address, HTTP: http.DefaultClient}); err == nil {
			t.Errorf("a peer at %q was made", address)
		}
	}
}
