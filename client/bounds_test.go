package client

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// skippable returns a zstd skippable frame of so many bytes, which decode to nothing.
func skippable(n int) []byte {
	head := []byte{0x50, 0x2a, 0x4d, 0x18, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
	return append(head, make([]byte, n)...)
}

// TestClient_DownloadsAreBounded: what is received and kept is bounded by what was signed, whatever a node sends and
// says of lengths.
func TestClient_DownloadsAreBounded(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, piece []byte) {
		for sent := 0; sent < 64<<20; sent += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
	for name, meddle := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"skippable frames": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Encoding", "zstd")
			endless(w, skippable(60_000))
		},
		"skippable frames as a patch": func(w http.ResponseWriter, r *http.Request, body []byte) {
			if strings.Contains(r.Header.Get("Accept-Encoding"), "dcz") {
				w.Header().Set("Content-Encoding", "dcz")
				_, _ = w.Write(body[:40])
			} else {
				w.Header().Set("Content-Encoding", "zstd")
			}
			endless(w, skippable(60_000))
		},
		"not encoded": func(w http.ResponseWriter, _ *http.Request, body []byte) { endless(w, body) },
		"a length that is no bound": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Encoding", "zstd")
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			endless(w, skippable(60_000))
		},
		"a part that never ends": func(w http.ResponseWriter, r *http.Request, _ []byte) {
			w.Header().Set("Content-Encoding", "zstd")
			w.Header().Set("ETag", `"same"`)
			var from int
			if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, int64(math.MaxInt64-1), int64(math.MaxInt64)))
				w.WriteHeader(http.StatusPartialContent)
				endless(w, skippable(60_000))
			}
			_, _ = w.Write(skippable(30_000))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, dir := newFakeNode(t), t.TempDir()
			var largest, most atomic.Int64
			c := device(t, node, dir, func(c *Config) {
				c.Progress = func(int64, int64) {
					if info, err := os.Stat(filepath.Join(dir, partialBody)); err == nil {
						largest.Store(max(largest.Load(), info.Size()))
					}
				}
			})
			node.publish("1.0.0", map[string]string{"index.html": "1.0.0"})
			update(t, c)
			node.publish("1.1.0", map[string]string{"index.html": "1.1.0"})
			node.meddle = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				meddle(w, r, body)
				return true
			}
			most.Store(maxEncoded(&node.current.Release, "zstd"))
			r, err := c.Update(t.Context())
			if err == nil {
				t.Errorf("Update = %+v", r)
			}
			if largest.Load() > most.Load() {
				t.Errorf("%d bytes were kept, want at most %d", largest.Load(), most.Load())
			}
			// One byte more shows that it is too long; decoders read ahead.
			if all := int64(r.Requests) * (most.Load() + 64<<10); r.BytesReceived > all {
				t.Errorf("%d bytes were received in %d requests, want at most %d", r.BytesReceived, r.Requests, all)
			}
			wantCurrent(t, dir, map[string]string{"index.html": "1.0.0"})
		})
	}
}

// TestFolder_MakesNoMoreThanIsSigned: another archive of the signed size may be one of empty files in deep folders.
func TestFolder_MakesNoMoreThanIsSigned(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for i := range 300 {
		name := fmt.Sprintf("%04d/", i) + strings.Repeat("d/", 40) + "x"
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(make([]byte, 1024))
	release := &channel.Release{Size: int64(b.Len()), Files: 3, Bundle: digest.Sum([]byte("another"))}
	for name, unpack := range map[string]func(*folder) error{
		"as it comes": func(f *folder) error { return f.unpack(t.Context(), release, bytes.NewReader(b.Bytes())) },
		"in memory":   func(f *folder) error { return f.unpackBytes(t.Context(), release, b.Bytes()) },
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		into := newFolder(root)
		if err := unpack(into); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		if err := errors.Join(into.close(), root.Close()); err != nil {
			t.Fatal(err)
		}
		made := 0
		if err := filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { made++; return nil }); err != nil {
			t.Fatal(err)
		}
		if most := 1 + 3 + 4*3 + 64; made > most {
			t.Errorf("%s: %d files and folders were made, want at most %d", name, made, most)
		}
	}
}

// TestClient_GoesOnAtTheNextNodeAfterDamage: a node that sent wrong bytes from the start is not asked for them again.
func TestClient_GoesOnAtTheNextNodeAfterDamage(t *testing.T) {
	t.Parallel()
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	wrong := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/check") {
			node.serve(w, r)
			return
		}
		_, _ = w.Write(skippable(100))
	})
	c := device(t, node, dir, over(nodes{"one": wrong, "two": http.HandlerFunc(node.serve)}, "one", "two"))
	if r := update(t, c); r.Requests != 4 {
		t.Errorf("update: %+v, want two requests to each node", r)
	}
	wantCurrent(t, dir, version("1.0.0"))
}

func TestReadAnswer_CostsWhatItsBytesAccountFor(t *testing.T) {
	for name, raw := range map[string]string{
		"empty attachments": `{"decision":"update","release":{"attachments":[` + strings.Repeat("{},", 200_000) + `{}]}}`,
		"nested":            `{"manifest":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
		"endless":           `{"decision":"` + strings.Repeat("x", 2*protocol.MaxCheckAnswer),
		"members":           "{" + strings.Repeat(`"a":0,`, 100_000) + `"a":0}`,
	} {
		cost.Check(t, len(raw), func() {
			if _, err := readAnswer(strings.NewReader(raw), digest.Digest{}); err == nil && name != "nested" {
				t.Errorf("%s: accepted", name)
			}
		})
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"decision":"up_to_date","sequence":7}`), true)
	f.Add([]byte(`{"decision":"update","representation":{"encoding":"dcz","size":5},"patch":"AAAA","manifest":{"a":1}}`), false)
	f.Fuzz(func(t *testing.T, raw []byte, known bool) {
		var seen digest.Digest
		if known {
			seen = digest.Sum(nil)
		}
		cost.Check(t, len(raw), func() { _, _ = readAnswer(bytes.NewReader(raw), seen) })
		a, err := readAnswer(bytes.NewReader(raw), seen)
		if err == nil && a.Manifest == nil && (!known || a.Decision == channel.Update) {
			t.Error("an answer without a manifest was accepted")
		}
	})
}

func FuzzDecodePartial(f *testing.F) {
	name := strings.Repeat("a", 64)
	f.Add([]byte(`{"bundle":"` + name + `","etag":"\"a\"","encoding":"zstd","total":5}`))
	f.Add([]byte(`{"bundle":"` + name + `","etag":"\"a\"","encoding":"dcz","total":-1,"dictionary":"` + name + `"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() { _, _ = decodePartial(raw) })
		if info, ok := decodePartial(raw); ok && (info.ETag == "" || info.Total < -1 ||
			(info.Encoding == "dcz") == info.Dictionary.IsZero()) {
			t.Errorf("accepted: %+v", info)
		}
	})
}

func FuzzParseSpan(f *testing.F) {
	for _, field := range []string{"bytes 0-4/5", "bytes 5-9/*", "bytes */5", "bytes 5-4/9", "bytes 0-9223372036854775807/5"} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		var s span
		var ok bool
		cost.Check(t, len(field), func() { s, ok = parseSpan(field) })
		if !ok {
			return
		}
		if s.first < 0 || s.last < s.first || s.total != -1 && s.last >= s.total {
			t.Errorf("%q is %+v", field, s)
		}
		again := fmt.Sprintf("bytes %d-%d/%d", s.first, s.last, s.total)
		if other, ok := parseSpan(strings.Replace(again, "/-1", "/*", 1)); !ok || other != s {
			t.Errorf("%q is %+v, and written again %+v", field, s, other)
		}
	})
}

// FuzzSplit has a node give hints of any size: a device asks for no more than is signed, and for each byte once.
func FuzzSplit(f *testing.F) {
	f.Add(int64(1<<20), 10, int64(1<<20))
	f.Add(int64(math.MaxInt64), 16, int64(1))
	f.Add(int64(math.MinInt64), 1, int64(1))
	f.Fuzz(func(t *testing.T, size int64, connections int, signed int64) {
		if connections < 1 || connections > maxConnections || signed < 1 || signed > 16<<30 ||
			size > maxEncoded(&channel.Release{Size: signed}, "zstd") {
			return
		}
		var parts []*part
		cost.Check(t, 0, func() { parts = split(size, connections) })
		var at int64
		for _, p := range parts {
			if size > 0 && (p.from != at || p.to <= p.from) {
				t.Fatalf("a part of %d is %d to %d, after %d", size, p.from, p.to, at)
			}
			at = p.to
		}
		if size > 0 && at != size {
			t.Errorf("parts end at %d of %d", at, size)
		}
	})
}

func TestBoundedReader_GivesWhatItMay(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		r := &boundedReader{r: strings.NewReader("abc"[:n]), left: 2, limit: 2}
		got, err := io.ReadAll(r)
		if want := "abc"[:min(n, 2)]; string(got) != want || errors.Is(err, ErrDamaged) != (n > 2) {
			t.Errorf("of %d bytes came %q, %v", n, got, err)
		}
	}
}
