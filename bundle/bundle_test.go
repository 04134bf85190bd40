package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/digest"
)

// noise returns n bytes that do not compress and are the same at every run.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func mapFS(files map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{}
	for path, data := range files {
		fsys[path] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// index returns the index of files and a reader of their archive, made from chunks.
func index(t testing.TB, files map[string][]byte) (*Index, *ArchiveReader) {
	t.Helper()
	fsys := mapFS(files)
	ix, err := Folder{FS: fsys}.Index(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ix, NewArchive(context.Background(), ix, NewFolderChunks(fsys, ix))
}

// sample is a bundle that has every special case in it.
func sample() map[string][]byte {
	return map[string][]byte{
		"index.html":         []byte("<!doctype html>"),
		"empty":              nil,
		"assets/app.js":      noise(1, 700_000),
		"assets/app-copy.js": noise(1, 700_000),
		"assets/exact":       noise(2, MaxChunk),
		"日本語/עברית/файл.txt": []byte("scripts"),
		"a-b":                []byte("sorts before a/b by bytes, after it by folders"),
		"a/b":                []byte("x"),
	}
}

func sampleFiles() map[string][]byte {
	files := sample()
	files[strings.Repeat("deep/", MaxDepth-1)+"long.txt"] = []byte("needs a pax header")
	return files
}

func TestIndex_GoldenDigests(t *testing.T) {
	ix, _ := index(t, sampleFiles())
	// These values must never change for schema 1: they are the identity of bundles out there.
	const wantArchive = "36c9d2910e1161880a3e90886b50e2d3164ec29b11acb47c0c53aa183a5f21fe"
	const wantIndex = "d5b20644538190282f52129fa4f3be8d43636f8ac72591703f50c1088fff9360"
	if got := ix.Bundle().String(); got != wantArchive {
		t.Errorf("archive digest = %s, want %s", got, wantArchive)
	}
	if got := digest.Sum(ix.Encode()).String(); got != wantIndex {
		t.Errorf("index digest = %s, want %s", got, wantIndex)
	}
}

func TestArchive_IsReadByTar(t *testing.T) {
	files := sampleFiles()
	_, archive := index(t, files)
	tr := tar.NewReader(archive)
	got := map[string][]byte{}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o644 || !h.ModTime.Equal(h.ModTime.UTC().Truncate(0)) || h.ModTime.Unix() != 0 || h.Uid != 0 {
			t.Errorf("%s: header %+v depends on the machine", h.Name, h)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) == 0 {
			data = nil
		}
		got[h.Name] = data
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("tar reads other files than were bundled:\n%s", diff)
	}
}

func TestFolder_WriteArchiveEqualsChunks(t *testing.T) {
	files := sampleFiles()
	ix, archive := index(t, files)
	var direct, chunked bytes.Buffer
	if err := (Folder{FS: mapFS(files)}).WriteArchive(context.Background(), &direct); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&chunked, archive); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(direct.Bytes(), chunked.Bytes()) {
		t.Error("the archive of the folder and the archive of its chunks differ")
	}
	if digest.Sum(direct.Bytes()) != ix.Bundle() || digest.SumSHA256(direct.Bytes()) != ix.Archive.SHA256 {
		t.Error("the archive does not have the digests that the index gives it")
	}
	if int64(direct.Len()) != ix.Archive.Size {
		t.Errorf("the archive has %d bytes, the index says %d", direct.Len(), ix.Archive.Size)
	}
}

// genFiles draws a small bundle with files around the sizes where the chunker and the layout change their mind.
func genFiles(t *rapid.T) map[string][]byte {
	files := map[string][]byte{}
	n := rapid.IntRange(1, 6).Draw(t, "files")
	for i := range n {
		size := rapid.SampledFrom([]int{
			0, 1, 511, 512, 513, MinChunk, MinChunk + 1, AvgChunk, MaxChunk - 1, MaxChunk,
			MaxChunk + 1, 2*MaxChunk + 7, 5 * MaxChunk,
		}).Draw(t, "size")
		name := rapid.StringMatching(`[a-zé日]{1,8}`).Draw(t, "name")
		files[fmt.Sprintf("%s-%d/%s", name, i, strings.Repeat("x", rapid.IntRange(1, 120).Draw(t, "length")))] = noise(rapid.Uint64Range(0, 50).Draw(t, "seed"), size)
	}
	return files
}

func TestIndexArchive_ReturnsTheSameIndex(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ix, archive := index(t, genFiles(rt))
		again, err := IndexArchive(context.Background(), archive)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(ix, again); diff != "" {
			rt.Fatalf("index of the folder and of the archive differ:\n%s", diff)
		}
		decoded, err := DecodeIndex(ix.Encode())
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(ix, decoded); diff != "" {
			rt.Fatalf("index does not survive its encoding:\n%s", diff)
		}
	})
}

func TestArchiveReader_SeeksAnywhere(t *testing.T) {
	ix, archive := index(t, sampleFiles())
	whole, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.Int64Range(0, ix.Archive.Size).Draw(t, "offset")
		length := rapid.Int64Range(0, 300_000).Draw(t, "length")
		if _, err := archive.Seek(offset, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(archive, length))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, whole[offset:min(offset+length, ix.Archive.Size)]) {
			t.Fatalf("bytes %d+%d are wrong", offset, length)
		}
	})
}

func TestFileReader_ReadsAndSeeks(t *testing.T) {
	files := sampleFiles()
	fsys := mapFS(files)
	ix, _ := index(t, files)
	for i := range ix.Files {
		f := &ix.Files[i]
		r := NewFile(context.Background(), f, NewFolderChunks(fsys, ix))
		for _, offset := range []int64{0, f.Size / 3, f.Size, f.Size + 1} {
			if _, err := r.Seek(offset, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, files[f.Path][min(offset, f.Size):]) {
				t.Errorf("%s from %d: %d bytes, %v", f.Path, offset, len(got), err)
			}
			if _, err := r.Seek(offset, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if n, err := r.WriteTo(&b); err != nil || n != int64(len(got)) || !bytes.Equal(b.Bytes(), got) {
				t.Errorf("%s from %d: WriteTo gives %d bytes, %v, or others than Read", f.Path, offset, n, err)
			}
		}
		if end, err := r.Seek(0, io.SeekEnd); err != nil || end != f.Size {
			t.Errorf("%s ends at %d, %v", f.Path, end, err)
		}
	}
}

func TestFolder_RefusesInvalidFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Skipf("this file system has no symbolic links: %v", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	folder := Folder{FS: root.FS()}
	if _, err := folder.Index(context.Background()); !errors.Is(err, ErrEmpty) {
		t.Errorf("empty folder: %v, want ErrEmpty", err)
	}
	write("index.html")
	link("index.html", "inside.html")
	if ix, err := folder.Index(context.Background()); err != nil || len(ix.Files) != 2 {
		t.Errorf("link to a file inside: %v, want two files", err)
	}
	for name, target := range map[string]string{"out.html": outside, "up.html": "../../etc/passwd", "dangling.html": "nowhere", "loop": "."} {
		link(target, name)
		var pathErr *PathError
		if _, err := folder.Index(context.Background()); !errors.As(err, &pathErr) || pathErr.Path != name {
			t.Errorf("link %s to %s: %v, want a PathError that names it", name, target, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(`back\slash`)
	var pathErr *PathError
	if _, err := folder.Index(context.Background()); !errors.As(err, &pathErr) || pathErr.Path != `back\slash` {
		t.Errorf("backslash: %v, want a PathError that names it", err)
	}
}

func TestFolderChunks_NoticesAChange(t *testing.T) {
	files := map[string][]byte{"a": noise(1, 1000)}
	fsys := mapFS(files)
	ix, err := Folder{FS: fsys}.Index(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	chunks := NewFolderChunks(fsys, ix)
	fsys["a"].Data = noise(2, 1000)
	if _, err := chunks.Chunk(context.Background(), ix.Files[0].ChunkList()[0]); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("Chunk of a changed file = %v, want ErrMismatch", err)
	}
	if _, err := chunks.Chunk(context.Background(), Chunk{Digest: digest.Sum(nil), Size: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Chunk of another bundle = %v, want ErrNotExist", err)
	}
}

func TestCheckPath_Refuses(t *testing.T) {
	for _, bad := range []string{
		"", "/etc/passwd", "..", "../x", "a/../b", "a/./b", ".", "a//b", "a/", `a\b`, `..\x`,
		"C:/x", "c:x", "a\x00b", "a\nb", "\x7f", "bad\xffutf8", strings.Repeat("x", 256), strings.Repeat("x/", 600) + "y",
	} {
		var pathErr *PathError
		if err := CheckPath(bad); !errors.As(err, &pathErr) || pathErr.Path != bad {
			t.Errorf("CheckPath(%q) = %v, want a PathError that names it", bad, err)
		}
	}
	for _, good := range []string{"a", "...", "a..b", ".well-known/x", "ключ/鍵", "ab:c", "with space", "é", "e\u0301"} {
		if err := CheckPath(good); err != nil {
			t.Errorf("CheckPath(%q) = %v", good, err)
		}
	}
}

func TestCheckPaths_RefusesNamesThatMeet(t *testing.T) {
	for _, bad := range [][]string{
		{"a", "a"},
		{"A.js", "a.js"},
		{"caf\u00e9", "cafe\u0301"},
		{"STRASSE", "straße"},
		{"Σ", "ς"},
		{"a", "a/b"},
		{"a/b", "a"},
		{"a/b/c", "A/B"},
		{"É/x", "e\u0301"},
	} {
		var pathErr *PathError
		if err := CheckPaths(bad); !errors.As(err, &pathErr) || pathErr.Path != bad[1] {
			t.Errorf("CheckPaths(%q) = %v, want a PathError that names the second", bad, err)
		}
	}
	if err := CheckPaths([]string{"a/b", "a/c", "A/d", "b"}); err != nil {
		t.Errorf("folders may differ in case: %v", err)
	}
}

func TestDecodeIndex_RefusesInconsistentIndexes(t *testing.T) {
	good, _ := index(t, sampleFiles())
	for name, spoil := range map[string]func(*Index){
		"schema":        func(ix *Index) { ix.Schema = 2 },
		"no files":      func(ix *Index) { ix.Files = nil },
		"order":         func(ix *Index) { ix.Files[0], ix.Files[1] = ix.Files[1], ix.Files[0] },
		"path":          func(ix *Index) { ix.Files[len(ix.Files)-1].Path = "z/../x" },
		"file size":     func(ix *Index) { ix.File("assets/app.js").Size++ },
		"negative size": func(ix *Index) { ix.Files[0].Size = -1 },
		"archive size":  func(ix *Index) { ix.Archive.Size++ },
		"large archive": func(ix *Index) { ix.Archive.Size = MaxArchive + 1 },
		"single chunk": func(ix *Index) {
			f := ix.File("index.html")
			f.Chunks = f.ChunkList()
		},
		"large chunk": func(ix *Index) {
			f := ix.File("assets/app.js")
			f.Chunks = []Chunk{{Digest: f.Digest, Size: f.Size - 1}, {Digest: good.Files[0].Digest, Size: 1}}
		},
		"two sizes": func(ix *Index) { ix.File("a/b").Digest = ix.File("a-b").Digest },
	} {
		raw := good.Encode()
		spoilt, err := DecodeIndex(raw)
		if err != nil {
			t.Fatal(err)
		}
		spoil(spoilt)
		if _, err := DecodeIndex(spoilt.Encode()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	for name, raw := range map[string][]byte{
		"space":   append(bytes.Clone(good.Encode()), ' '),
		"unknown": bytes.Replace(good.Encode(), []byte(`{"schema"`), []byte(`{"more":1,"schema"`), 1),
		"cut":     good.Encode()[:100],
	} {
		if _, err := DecodeIndex(raw); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestReadArchive_RefusesOtherTars(t *testing.T) {
	write := func(headers ...*tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	_, archive := index(t, map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	good, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	padding := bytes.Clone(good)
	padding[blockSize+5] = 1
	for name, raw := range map[string][]byte{
		"traversal":   write(file("../x")),
		"absolute":    write(file("/x")),
		"order":       write(file("b"), file("a")),
		"twice":       write(file("a"), file("a")),
		"case":        write(file("A"), file("a")),
		"link":        write(&tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc/passwd", Mode: 0o644}),
		"folder":      write(&tar.Header{Typeflag: tar.TypeDir, Name: "a/", Mode: 0o755}),
		"mode":        write(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o755}),
		"owner":       write(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644, Uname: "root"}),
		"no files":    write(),
		"bytes after": append(bytes.Clone(good), 0),
		"padding":     padding,
	} {
		if _, err := IndexArchive(context.Background(), bytes.NewReader(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	for n := range good {
		if _, err := IndexArchive(context.Background(), bytes.NewReader(good[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("archive cut at %d of %d: %v, want ErrUnexpectedEOF", n, len(good), err)
		}
	}
}

func TestDiff_ListsChanges(t *testing.T) {
	old, _ := index(t, map[string][]byte{"gone": []byte("1"), "same": []byte("2"), "edit": []byte("3"), "z": noise(1, 9)})
	next, _ := index(t, map[string][]byte{"new": []byte("22"), "same": []byte("2"), "edit": []byte("333"), "copy": noise(1, 9), "z": noise(1, 9)})
	want := []Change{
		{Path: "copy", Kind: "added", New: 9},
		{Path: "edit", Kind: "changed", Old: 1, New: 3, Fresh: 3},
		{Path: "gone", Kind: "removed", Old: 1},
		{Path: "new", Kind: "added", New: 2, Fresh: 2},
	}
	if diff := cmp.Diff(want, Diff(old, next)); diff != "" {
		t.Error(diff)
	}
}
