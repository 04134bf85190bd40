package client

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// counted is a server that knows its connections.
type counted struct {
	*httptest.Server

	mu           sync.Mutex
	changed      *sync.Cond
	opened, open int
}

func newCounted(t *testing.T, secure bool, handler http.HandlerFunc) *counted {
	t.Helper()
	s := &counted{Server: httptest.NewUnstartedServer(handler)}
	s.changed = sync.NewCond(&s.mu)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch state {
		case http.StateNew:
			s.opened++
			s.open++
		case http.StateClosed:
			s.open--
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
		s.changed.Broadcast()
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// sofar returns how many connections have been opened.
func (s *counted) sofar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// await waits until so many connections have been opened and so many are open; -1 is any number.
func (s *counted) await(t *testing.T, opened, open int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for opened >= 0 && s.opened != opened || open >= 0 && s.open != open {
		if ctx.Err() != nil {
			t.Errorf("%d connections were opened and %d are open, want %d and %d", s.opened, s.open, opened, open)
			return
		}
		s.changed.Wait()
	}
}

// TestClient_OpensConnectionsAhead: an install has its connections before it knows what for, and what is not needed of
// them is closed. An update does so if it is told to.
func TestClient_OpensConnectionsAhead(t *testing.T) {
	for name, eager := range map[string]bool{"eager": true, "not eager": false} {
		t.Run(name, func(t *testing.T) {
			node := newFakeNode(t)
			node.publish("1.0.0", version("1.0.0"))
			want := DefaultConnections // when a check is answered
			var server *counted
			server = newCounted(t, false, func(w http.ResponseWriter, r *http.Request) {
				server.await(t, want, -1)
				node.serve(w, r)
			})
			c := device(t, node, t.TempDir(), func(c *Config) {
				c.HTTP, c.Nodes, c.Eager = nil, []string{server.URL}, eager
			})
			update(t, c)
			server.await(t, want, 1)
			if eager {
				want += DefaultConnections
			}
			update(t, c)
			server.await(t, want, 1)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			server.await(t, want, 0)
		})
	}
}

func TestClient_UsesConnectionsThatWereOpenedAhead(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.hint = asIs
	node.publish("1.0.0", larger("1.0.0", 1))
	server := newCounted(t, false, node.serve)
	c := device(t, node, dir, func(c *Config) { c.HTTP, c.Nodes = nil, []string{server.URL} })
	if r := update(t, c); r.Parts != DefaultConnections {
		t.Errorf("install: %+v", r)
	}
	if n := server.sofar(); n > DefaultConnections+1 { // that of the check may not be free again
		t.Errorf("%d connections were opened for %d parts", n, DefaultConnections)
	}
	wantCurrent(t, dir, larger("1.0.0", 1))
}

// TestDialer_Secure: a connection that is opened ahead has its handshake behind it, and trusts whom others trust.
func TestDialer_Secure(t *testing.T) {
	server := newCounted(t, true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	d := newDialer()
	client := &http.Client{Transport: d.transport(2)}
	defer client.CloseIdleConnections()
	get := func() error {
		resp, err := client.Get(server.URL)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	if err := get(); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Fatalf("a certificate that nobody signed: %v", err)
	}
	d.roots = x509.NewCertPool()
	d.roots.AddCert(server.Certificate())
	before := server.sofar()
	d.openAhead(t.Context(), server.URL, 2)
	server.await(t, before+2, 2)
	if err := get(); err != nil {
		t.Fatal(err)
	}
	d.closeUnused()
	server.await(t, before+2, 1)
}

func TestDialer_OpensNothingBesideAProxy(t *testing.T) {
	d := newDialer()
	d.transport(2)
	d.proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }
	d.openAhead(t.Context(), "http://127.0.0.1:2", 2)
	if len(d.ahead) > 0 {
		t.Error("a connection was opened past the proxy")
	}
}

// TestDialer_FailsLikeAnyOther: an opening that failed is tried again, and a caller whose context ends stops waiting.
func TestDialer_FailsLikeAnyOther(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	d := newDialer()
	d.transport(1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	d.openAhead(gone, "http://"+address, 1)
	conn, err := d.connect(t.Context(), target{address: address})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = listener.Close()
	d.openAhead(t.Context(), "http://"+address, 1)
	if _, err := d.connect(gone, target{address: address}); err == nil {
		t.Error("a connection to nobody")
	}
	d.closeUnused()
}
