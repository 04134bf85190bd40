package publish

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
)

// newMaker returns a maker for the files, open.
func newMaker(t *testing.T, files fstest.MapFS) *maker {
	t.Helper()
	ix, err := bundle.Folder{FS: files}.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{source: Source{Release: Content{Files: files, Index: ix}}}
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// zip makes the zip of the files.
func (m *maker) zip(ctx context.Context) error { return Zip{}.Attach(ctx, &m.source, m.root) }

func TestMaker_RefusesFilesThatChangedSinceTheyWereRead(t *testing.T) {
	files := fstest.MapFS{"a.js": {Data: []byte("first")}}
	m := newMaker(t, files)
	files["a.js"] = &fstest.MapFile{Data: []byte("other")}
	if err := m.zip(t.Context()); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("zip of a changed file: %v", err)
	}
	files["a.js"] = &fstest.MapFile{Data: []byte("fir")}
	if err := m.zip(t.Context()); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("zip of a file that is shorter now: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.zip(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("zip after the end: %v", err)
	}
}

// makeZip returns the bytes of the zip of files.
func makeZip(t *testing.T, files fstest.MapFS) []byte {
	t.Helper()
	m := newMaker(t, files)
	if err := m.zip(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(m.dir, protocol.ZipPath))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func someFiles() fstest.MapFS {
	return fstest.MapFS{
		"index.html":      {Data: []byte("<!doctype html>")},
		"js/app.js":       {Data: bytes.Repeat([]byte("const a = 1;\n"), 50_000), ModTime: time.Unix(1e9, 0)},
		"größe/π.json":    {Data: []byte("{}"), Mode: 0o755},
		"empty.txt":       {},
		"with space.css":  {Data: []byte("a{}")},
		"data/packed.br":  {Data: []byte("not brotli at all")},
		"data/noise.webp": {Data: noise(70_000)},
	}
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	var b []byte
	for sum := digest.Sum(nil); len(b) < n; sum = digest.Sum(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func TestMaker_AZipSaysTheSameEveryTimeAndNothingOfTheMachine(t *testing.T) {
	files := someFiles()
	raw := makeZip(t, files)
	if !bytes.Equal(raw, makeZip(t, files)) {
		t.Error("two zips of the same files differ")
	}
	in, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range in.File {
		names = append(names, entry.Name)
		content, err := readEntry(entry)
		if err != nil || !bytes.Equal(content, files[entry.Name].Data) {
			t.Errorf("%s: %d bytes, %v", entry.Name, len(content), err)
		}
		if entry.Flags != 1<<11 || len(entry.Extra) > 0 || entry.ExternalAttrs != 0 || entry.CreatorVersion != 20 {
			t.Errorf("%s: header %+v", entry.Name, entry.FileHeader)
		}
		if !entry.Modified.Equal(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: modified %v", entry.Name, entry.Modified)
		}
	}
	if !slices.IsSorted(names) || len(names) != len(files) {
		t.Errorf("entries %q", names)
	}
	if in.Comment != "" {
		t.Errorf("comment %q", in.Comment)
	}
	if len(raw) > 80_000 {
		t.Errorf("a zip of %d bytes: nothing was deflated", len(raw))
	}
}

// An unpacker that reads from the front knows of an entry what its local header says.
func TestMaker_AZipCanBeReadFromTheFront(t *testing.T) {
	files := someFiles()
	raw := makeZip(t, files)
	in, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range in.File {
		start, err := entry.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		h := raw[start-int64(len(entry.Name))-30 : start]
		le := func(at int) int { return int(h[at]) | int(h[at+1])<<8 | int(h[at+2])<<16 | int(h[at+3])<<24 }
		if string(h[:4]) != "PK\x03\x04" || uint32(le(14)) != entry.CRC32 ||
			le(18) != int(entry.CompressedSize64) || le(22) != int(entry.UncompressedSize64) {
			t.Errorf("%s: local header %x", entry.Name, h)
		}
	}
}

func TestCheckZip_RefusesNamesThatSomeSystemsCanNotHold(t *testing.T) {
	for _, path := range []string{
		"a:b.js", "what?.js", "a/b*/c", "a|b", "a<b", "a>b", `a"b`, "a/b./c", "a/end.", "a/end ", "con", "a/NUL.txt",
		"com1.js", "a/Lpt9", "aux/x.js",
	} {
		err := checkZip(&bundle.Index{Files: []bundle.File{{Path: path}}})
		if refused, ok := errors.AsType[*AttachmentError](err); !ok || refused.Hint == "" {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{"a b.js", "a.b.c", ".hidden", "console.js", "com10", "com", "lpt0", "größe/π.json", "a'b"} {
		if err := checkZip(&bundle.Index{Files: []bundle.File{{Path: path}}}); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	if err := checkZip(&bundle.Index{Files: []bundle.File{{Path: "a", Size: 1 << 32}}}); err == nil {
		t.Error("a file of 4 GiB goes into a zip")
	}
	if err := checkZip(&bundle.Index{Files: make([]bundle.File, 1<<16)}); err == nil {
		t.Error("65,536 files go into a zip")
	}
}
