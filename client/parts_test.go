package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"brink/digest"
	"brink/protocol"
)

// larger is a version whose archive, and the patch to it, are worth several parts.
func larger(n string, seed byte) map[string]string {
	files := version(n)
	files["img/large"] = string(noise(seed, 150_000))
	return files
}

// asIs is a hint as a node gives it.
func asIs(r *protocol.Representation) *protocol.Representation { return r }

// TestClient_TakesArchivesInParts: each byte comes once, over as many connections as there are parts.
func TestClient_TakesArchivesInParts(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.hint = asIs
	c := device(t, node, dir)
	for _, test := range []struct {
		version string
		seed    byte
		patched bool
	}{{"1.0.0", 1, false}, {"1.1.0", 2, true}} {
		node.publish(test.version, larger(test.version, test.seed))
		before := node.sent.Load()
		r := update(t, c)
		if r.Parts != DefaultConnections || r.Requests != 1+r.Parts || r.Patched != test.patched || r.Resumed {
			t.Errorf("%s: %+v", test.version, r)
		}
		if sent, most := node.sent.Load()-before, int64(230_000); sent > most {
			t.Errorf("%s: %d bytes were sent, want %d at most", test.version, sent, most)
		}
		wantCurrent(t, dir, larger(test.version, test.seed))
	}
}

func TestClient_TakesArchivesWholeIfToldSo(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.hint = func(*protocol.Representation) *protocol.Representation {
		t.Error("a device that takes no parts asks for the size")
		return nil
	}
	node.publish("1.0.0", larger("1.0.0", 1))
	c := device(t, node, dir, func(c *Config) { c.Connections = 1 })
	if r := update(t, c); r.Parts != 0 || r.Requests != 2 {
		t.Errorf("update: %+v", r)
	}
}

// TestClient_PartsThatFail has a part fail in every way, of an install and of an update. What comes is right, and the
// patch is not given up for it.
func TestClient_PartsThatFail(t *testing.T) {
	second := func(r *http.Request) bool {
		return r.Header.Get("Range") != "" && !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-")
	}
	refuse := func(w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":"busy","message":"not now"}`))
		return true
	}
	for name, test := range map[string]struct {
		hint func(*protocol.Representation) *protocol.Representation
		// meddle is called with whether the same end of the representation was asked for before.
		meddle func(again bool, w http.ResponseWriter, r *http.Request, body []byte) bool
		whole  bool // the archive is asked for as a whole in the end
	}{
		"refused once": {meddle: func(again bool, w http.ResponseWriter, r *http.Request, _ []byte) bool {
			return second(r) && !again && refuse(w)
		}},
		"cut": {meddle: func(again bool, w http.ResponseWriter, r *http.Request, body []byte) bool {
			if !second(r) || again {
				return false
			}
			var from, to int
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
			w.Header().Set("ETag", `"`+digest.Sum(body).String()+`"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
			w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body[from : from+100])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		"another representation": {meddle: func(again bool, w http.ResponseWriter, r *http.Request, body []byte) bool {
			if !second(r) || again {
				return false
			}
			w.Header().Set("ETag", `"another"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(noise(3, len(body))))
			return true
		}},
		"the first is refused": {whole: true, meddle: func(_ bool, w http.ResponseWriter, r *http.Request, _ []byte) bool {
			return r.Header.Get("Range") != "" && !second(r) && refuse(w)
		}},
		"no ranges": {whole: true, meddle: func(_ bool, _ http.ResponseWriter, r *http.Request, _ []byte) bool {
			r.Header.Del("Range")
			return false
		}},
		"told too short": {whole: true, hint: func(r *protocol.Representation) *protocol.Representation {
			r.Size -= 1000
			return r
		}},
		"told too long": {whole: true, hint: func(r *protocol.Representation) *protocol.Representation {
			r.Size += 1 << 20
			return r
		}},
		"told nonsense": {whole: true, hint: func(r *protocol.Representation) *protocol.Representation {
			return &protocol.Representation{Encoding: r.Encoding, Size: math.MaxInt64}
		}},
		"told less than nothing": {whole: true, hint: func(r *protocol.Representation) *protocol.Representation {
			return &protocol.Representation{Encoding: r.Encoding, Size: math.MinInt64}
		}},
		"told an encoding that is not asked for": {whole: true, hint: func(r *protocol.Representation) *protocol.Representation {
			return &protocol.Representation{Encoding: "br", Size: r.Size}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.hint = asIs
			if test.hint != nil {
				node.hint = test.hint
			}
			var seen sync.Map
			if test.meddle != nil {
				node.meddle = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
					_, end, _ := strings.Cut(r.Header.Get("Range"), "-")
					_, again := seen.LoadOrStore(end, true)
					return test.meddle(again, w, r, body)
				}
			}
			c := device(t, node, dir)
			for i, v := range []string{"1.0.0", "1.1.0"} {
				seen.Clear()
				node.publish(v, larger(v, byte(i)))
				if r := update(t, c); r.Patched != (i == 1) || (r.Parts == 0) != test.whole || r.Resumed {
					t.Errorf("%s: %+v", v, r)
				}
				wantCurrent(t, dir, larger(v, byte(i)))
			}
		})
	}
}

// TestClient_AsksAgainForAPartThatStalls: a connection of ten on which nothing comes does not hold up the others.
func TestClient_AsksAgainForAPartThatStalls(t *testing.T) {
	for name, stalls := range map[string]func(string) bool{
		"the first":   func(span string) bool { return strings.HasPrefix(span, "bytes=0-") },
		"another one": func(span string) bool { return span != "" && !strings.HasPrefix(span, "bytes=0-") },
	} {
		t.Run(name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.hint = asIs
			node.publish("1.0.0", larger("1.0.0", 1))
			var stalled atomic.Bool
			node.meddle = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
				if !stalls(r.Header.Get("Range")) || !stalled.CompareAndSwap(false, true) {
					return false
				}
				<-r.Context().Done()
				return true
			}
			if r := update(t, device(t, node, dir)); r.Parts != DefaultConnections || r.Requests != 2+r.Parts {
				t.Errorf("install: %+v", r)
			}
			wantCurrent(t, dir, larger("1.0.0", 1))
		})
	}
}

// TestClient_ResumesPartsThatWereCut: what came in order before the first part that could not be had is kept.
func TestClient_ResumesPartsThatWereCut(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.hint = asIs
	node.publish("1.0.0", larger("1.0.0", 1))
	node.cutAfter = 5_000 // the second part is asked for twice; then the whole is gone on with, and cut again
	c := device(t, node, dir)
	if _, err := c.Update(context.Background()); err == nil {
		t.Fatal("every part was cut, and yet it ended")
	}
	node.cutAfter = 0
	before := node.sent.Load()
	if r := update(t, c); !r.Resumed || r.Parts != 0 {
		t.Errorf("after a cut: %+v", r)
	}
	if rest, whole := node.sent.Load()-before, int64(len(node.encoded["1.0.0"])); rest > whole-20_000 {
		t.Errorf("%d bytes of %d were sent again", rest, whole)
	}
	wantCurrent(t, dir, larger("1.0.0", 1))
}

// TestClient_NeverInstallsWrongParts: that parts fit together proves nothing.
func TestClient_NeverInstallsWrongParts(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.hint = asIs
	node.publish("1.0.0", larger("1.0.0", 1))
	c := device(t, node, dir)
	update(t, c)
	node.publish("1.1.0", larger("1.1.0", 2))
	node.meddle = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		body[len(body)-50_000] ^= 1
		w.Header().Set("ETag", `"spoilt"`)
		encoding, _, _ := strings.Cut(r.Header.Get("Accept-Encoding"), ",")
		w.Header().Set("Content-Encoding", encoding)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return true
	}
	if _, err := c.Update(context.Background()); !errors.Is(err, ErrDamaged) {
		t.Errorf("Update = %v, want ErrDamaged", err)
	}
	wantCurrent(t, dir, larger("1.0.0", 1))
}

// TestSplit_CoversAllOnce also bounds what is held.
func TestSplit_CoversAllOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1<<40).Draw(t, "size")
		connections := rapid.IntRange(1, maxConnections).Draw(t, "connections")
		parts := split(size, connections)
		if len(parts) == 0 || len(parts) > connections {
			t.Fatalf("%d parts", len(parts))
		}
		at := int64(0)
		for i, p := range parts {
			last := i == len(parts)-1
			if p.from != at || p.to <= p.from || !last && p.to-p.from > maxPart {
				t.Fatalf("part %d of %d is %d to %d, after %d", i, len(parts), p.from, p.to, at)
			}
			at = p.to
		}
		if at != size {
			t.Fatalf("parts end at %d of %d", at, size)
		}
	})
}
