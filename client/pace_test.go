package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"brink/protocol"
)

// Tests of limits of time run in a bubble with a clock of its own: time passes when nobody can go on.

// slow is a node whose answers come in pieces, or not at all.
type slow struct {
	handler http.Handler
	only    func(*http.Request) bool // nil: all requests are slow
	mute    bool                     // no answer ever comes
	pad     int                      // bytes before each answer that mean nothing in JSON
	pass    int                      // bytes that come at once
	every   time.Duration            // between two pieces after those; 0: nothing more comes
	piece   int                      // bytes

	mu    sync.Mutex
	asked []*http.Request
}

func (s *slow) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	if s.only != nil && !s.only(r) {
		return nodes{r.URL.Host: s.handler}.RoundTrip(r)
	}
	if s.mute {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	resp := w.Result()
	resp.Body = &slowBody{ctx: r.Context(), of: s, rest: append(bytes.Repeat([]byte(" "), s.pad), w.Body.Bytes()...), pass: s.pass}
	return resp, nil
}

// archives returns how many requests for an archive came.
func (s *slow) archives() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if archive(r) {
			n++
		}
	}
	return n
}

type slowBody struct {
	ctx  context.Context
	of   *slow
	rest []byte
	pass int
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := min(b.pass, len(p), len(b.rest))
	if n == 0 {
		var next <-chan time.Time
		if b.of.every > 0 {
			next = time.After(b.of.every)
		}
		select {
		case <-next:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
		n = min(b.of.piece, len(p), len(b.rest))
	} else {
		b.pass -= n
	}
	copy(p, b.rest[:n])
	b.rest = b.rest[n:]
	return n, nil
}

func (b *slowBody) Close() error { return nil }

// hosts is a transport that has one of its own for each host.
type hosts map[string]http.RoundTripper

func (h hosts) RoundTrip(r *http.Request) (*http.Response, error) { return h[r.URL.Host].RoundTrip(r) }

func archive(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/archive") }
func check(r *http.Request) bool   { return strings.HasSuffix(r.URL.Path, "/check") }

// asking returns a change of a device's config that has it ask the nodes of these names, in this order. What it takes
// for the time of day is that outside of any bubble.
func asking(all hosts, connections int, now time.Time, names ...string) func(*Config) {
	return func(c *Config) {
		over(nil, names...)(c)
		c.Now = func() time.Time { return now }
		c.HTTP, c.Connections = &http.Client{Transport: all}, connections
	}
}

// TestClient_LeavesASlowNode has a node be slow in every phase: the device takes the release from the next one, and
// when there is none it ends.
func TestClient_LeavesASlowNode(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.hint = func(r *protocol.Representation) *protocol.Representation { return r }
	node.publish("1.0.0", larger("1.0.0", 1))
	node.publish("1.1.0", larger("1.1.0", 2))
	manifests := append(node.history, node.manifest)
	for name, bad := range map[string]*slow{
		"no answer to the check":     {only: check, mute: true},
		"the check drips":            {only: check, every: 2 * time.Second, piece: 1},
		"the check goes on for ever": {only: check, every: time.Second, piece: 2 * minRate, pad: 100_000},
		"the check falls silent":     {only: check, pass: 10},
		"no answer to the archive":   {only: archive, mute: true},
		"the archive falls silent":   {only: archive, pass: 5000},
		"the archive drips":          {only: archive, every: 2 * time.Second, piece: 1},
		"the archive drips at last":  {only: archive, pass: 3000, every: 2 * time.Second, piece: 1},
		"just before each limit":     {only: archive, every: silence - time.Second, piece: 1},
	} {
		for label, connections := range map[string]int{"whole": 1, "in parts": DefaultConnections} {
			for _, from := range []string{"", "1.0.0"} {
				t.Run(name+" "+label+" from "+from, func(t *testing.T) {
					t.Parallel()
					dir, now := t.TempDir(), time.Now()
					synctest.Test(t, func(t *testing.T) {
						well := &slow{handler: http.HandlerFunc(node.serve), only: func(*http.Request) bool { return false }}
						bad := &slow{
							handler: well.handler, only: bad.only, mute: bad.mute, pass: bad.pass, every: bad.every, piece: bad.piece,
							pad: bad.pad,
						}
						all := hosts{"bad": bad, "well": well}
						if from != "" {
							before := &replay{of: node, manifest: manifests[0]}
							c := device(t, node, dir, over(nodes{"before": before}, "before"),
								func(c *Config) { c.Now = func() time.Time { return now } })
							update(t, c)
							if err := c.Close(); err != nil {
								t.Fatal(err)
							}
						}
						c := device(t, node, dir, asking(all, connections, now, "bad"))
						if r, err := c.Update(t.Context()); !errors.Is(err, ErrSlow) {
							t.Errorf("the only node is slow: %+v, %v", r, err)
						}
						if err := c.Close(); err != nil {
							t.Fatal(err)
						}
						c = device(t, node, dir, asking(all, connections, now, "bad", "well"))
						if r := update(t, c); r.Version != "1.1.0" || well.archives() == 0 {
							t.Errorf("the first node is slow: %+v", r)
						}
						wantCurrent(t, dir, larger("1.1.0", 2))
						if err := c.Close(); err != nil {
							t.Fatal(err)
						}
					})
				})
			}
		}
	}
}

// TestClient_GoesOnAtTheNextNode: what a slow node sent is kept, and asked of no other one.
func TestClient_GoesOnAtTheNextNode(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.publish("1.0.0", larger("1.0.0", 1))
	dir, now := t.TempDir(), time.Now()
	synctest.Test(t, func(t *testing.T) {
		well := &slow{handler: http.HandlerFunc(node.serve), only: func(*http.Request) bool { return false }}
		bad := &slow{handler: well.handler, only: archive, pass: 100_000}
		c := device(t, node, dir, asking(hosts{"bad": bad, "well": well}, 1, now, "bad", "well"))
		if r := update(t, c); !r.Resumed || r.BytesReceived > int64(len(node.encoded["1.0.0"])+10_000) {
			t.Errorf("update: %+v", r)
		}
		wantCurrent(t, dir, larger("1.0.0", 1))
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestClient_GoesOnWithAPatchAtTheNextNode: so it is with a patch, and what comes of it wrong costs no more than the
// patch.
func TestClient_GoesOnWithAPatchAtTheNextNode(t *testing.T) {
	t.Parallel()
	for name, right := range map[string]bool{"well": true, "spoilt": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, dir, now := newFakeNode(t), t.TempDir(), time.Now()
			node.publish("1.0.0", larger("1.0.0", 1))
			c := device(t, node, dir)
			update(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			node.publish("1.1.0", larger("1.1.0", 2))
			synctest.Test(t, func(t *testing.T) {
				well := &slow{
					only: func(*http.Request) bool { return false },
					handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if right || r.Header.Get("Range") == "" {
							node.serve(w, r)
							return
						}
						plain := httptest.NewRecorder()
						node.serve(plain, r)
						maps.Copy(w.Header(), plain.Header())
						w.WriteHeader(plain.Code)
						_, _ = w.Write(noise(9, plain.Body.Len()))
					}),
				}
				bad := &slow{handler: http.HandlerFunc(node.serve), only: archive, pass: 100_000}
				c := device(t, node, dir, asking(hosts{"bad": bad, "well": well}, 1, now, "bad", "well"))
				if r := update(t, c); r.Resumed != right || r.Patched != right || right && r.BytesReceived > 160_000 {
					t.Errorf("update: %+v", r)
				}
				wantCurrent(t, dir, larger("1.1.0", 2))
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestClient_WaitsForASlowLink: ten answers that share a link of 2 KiB a second are not too slow.
func TestClient_WaitsForASlowLink(t *testing.T) {
	t.Parallel()
	for name, connections := range map[string]int{"whole": 1, "in parts": DefaultConnections} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := newFakeNode(t)
			node.hint = asIs
			node.publish("1.0.0", larger("1.0.0", 1))
			dir, now := t.TempDir(), time.Now()
			synctest.Test(t, func(t *testing.T) {
				link := &slow{
					handler: http.HandlerFunc(node.serve), only: archive,
					every: time.Second, piece: 2 * minRate / connections,
				}
				c := device(t, node, dir, asking(hosts{"slow": link}, connections, now, "slow"))
				update(t, c)
				wantCurrent(t, dir, larger("1.0.0", 1))
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestPace_JudgesWhatCameLately: whatever came before, nothing that is below the rate goes on for ever, and nothing
// above it is ended.
func TestPace_JudgesWhatCameLately(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, answers := newPace(silence), rapid.Int64Range(1, maxConnections).Draw(t, "answers")
		for range rapid.IntRange(0, 20).Draw(t, "bursts") {
			p.record(0, rapid.IntRange(0, 1<<20).Draw(t, "burst"), answers)
		}
		step := time.Duration(rapid.Int64Range(int64(silence/1000), int64(silence)-1).Draw(t, "step"))
		rate := rapid.IntRange(0, 4*minRate).Draw(t, "rate")
		bytes := int(step.Seconds() * float64(rate) / float64(answers))
		earned := time.Duration(bytes) * time.Second * time.Duration(answers) / minRate
		if earned < step && earned > step*3/4 {
			t.Skip("takes long to tell")
		}
		var waited time.Duration
		for waited < 5*grace {
			if left, _ := p.left(); left <= 0 {
				break
			}
			p.record(step, bytes, answers)
			waited += step
		}
		if left, err := p.left(); (earned >= step) != (left > 0) {
			t.Fatalf("%d bytes each %v, %d answers: %v are left after %v, %v", bytes, step, answers, left, waited, err)
		}
	})
}
