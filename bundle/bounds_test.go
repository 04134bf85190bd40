package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"brink/bench/cost"
)

// tarOf returns the archive of empty files with these names, whatever the names are.
func tarOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if len(name) > 100 {
			h.Format = tar.FormatPAX
		}
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(zeros)
	return b.Bytes()
}

// deep returns n names, each in folders of its own.
func deep(n, depth int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%04d/", i) + strings.Repeat("d/", depth-2) + "x"
	}
	return names
}

// TestBundle_FoldersAreBounded: no parser accepts a bundle with far more folders than files, because folders take
// none of the bytes that are signed.
func TestBundle_FoldersAreBounded(t *testing.T) {
	t.Parallel()
	spelt := func(n int) (names []string) {
		for i := range n {
			name := []byte(strings.Repeat("d/", MaxDepth-1) + fmt.Sprint(i))
			for bit := range 6 {
				if i>>bit&1 == 1 {
					name[2*bit] = 'D'
				}
			}
			names = append(names, string(name))
		}
		return names
	}
	for name, test := range map[string]struct {
		names []string
		good  bool
	}{
		"as deep as may be":        {[]string{strings.Repeat("d/", MaxDepth-1) + "x"}, true},
		"too deep":                 {[]string{strings.Repeat("d/", MaxDepth) + "x"}, false},
		"as many as may be":        {append(deep(2, 37), "flat"), true},
		"too many":                 {deep(300, MaxDepth), false},
		"as many names of one":     {spelt(60), false}, // only where case is ignored is it one folder
		"few for each of many":     {deep(1000, 5), true},
		"one more for each of all": {deep(1000, 6), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string][]byte{}
			for _, n := range test.names {
				files[n] = nil
			}
			var wrong *PathError
			if err := CheckPaths(test.names); (err == nil) != test.good || !test.good && !errors.As(err, &wrong) {
				t.Errorf("CheckPaths = %v, want a PathError: %v", err, !test.good)
			}
			if test.names[0][0] == 'd' && len(test.names) > 1 {
				return // such names cannot be in one folder everywhere, and are not sorted
			}
			if _, err := (Folder{FS: mapFS(files)}).Index(t.Context()); (err == nil) != test.good {
				t.Errorf("a folder is indexed with error %v", err)
			}
			if err := (Folder{FS: mapFS(files)}).WriteArchive(t.Context(), io.Discard); (err == nil) != test.good {
				t.Errorf("a folder is written with error %v", err)
			}
			_, err := IndexArchive(t.Context(), bytes.NewReader(tarOf(t, test.names...)))
			if (err == nil) != test.good || !test.good && !errors.Is(err, ErrMalformed) {
				t.Errorf("an archive is read with error %v", err)
			}
			raw := indexOf(test.names)
			if _, err := DecodeIndex(raw); (err == nil) != test.good || !test.good && !errors.As(err, &wrong) {
				t.Errorf("an index is read with error %v", err)
			}
		})
	}
}

// indexOf returns the index of empty files with these names, whatever the names are.
func indexOf(names []string) []byte {
	x := newIndexer()
	for _, name := range names {
		_ = x.add(name, 0, strings.NewReader("")) // nothing is read
	}
	return x.finish().Encode()
}

// TestReadArchiveOf_CallsForNoMoreThanTheLimit: what is made of an archive is bounded before it is made.
func TestReadArchiveOf_CallsForNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	for name, names := range map[string][]string{
		"files":   {"a", "b", "c", "d"},
		"folders": deep(4, 40),
	} {
		raw, folders, files, last := tarOf(t, names...), 0, 0, ""
		err := ReadArchiveOf(t.Context(), bytes.NewReader(raw), 3, func(path string, _ int64, _ io.Reader) error {
			folders += newFolders(last, path)
			last = path
			files++
			return nil
		})
		if !errors.Is(err, ErrMalformed) || files > 3 || folders > MaxFolders(3) {
			t.Errorf("%s: %d files in %d folders, %v", name, files, folders, err)
		}
	}
	if err := ReadArchiveOf(t.Context(), bytes.NewReader(tarOf(t, "a", "b")), 2,
		func(string, int64, io.Reader) error { return nil }); err != nil {
		t.Errorf("as many as said: %v", err)
	}
}

// costOfArchive fails when reading an archive costs more than its bytes account for.
func costOfArchive(t *testing.T, raw []byte) {
	t.Helper()
	cost.Check(t, len(raw), func() { _, _ = IndexArchive(context.Background(), bytes.NewReader(raw)) })
	files, folders, last := 0, 0, ""
	_ = ReadArchiveOf(context.Background(), bytes.NewReader(raw), len(raw)/blockSize,
		func(path string, _ int64, _ io.Reader) error {
			files, folders, last = files+1, folders+newFolders(last, path), path
			return nil
		})
	if most := len(raw) / blockSize; files > most || folders > MaxFolders(most) {
		t.Errorf("%d bytes are %d files in %d folders", len(raw), files, folders)
	}
}

func TestArchive_CostsWhatItsBytesAccountFor(t *testing.T) {
	for _, raw := range [][]byte{
		tarOf(t, deep(3000, 5)...), tarOf(t, deep(300, MaxDepth)...), tarOf(t, "a", "b"), nil,
		tarOf(t, deep(2000, 55)...), tarOf(t, strings.Repeat("é/", 55)+"x"),
	} {
		costOfArchive(t, raw)
	}
}
