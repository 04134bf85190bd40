package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"brink/bench/cost"
	"brink/digest"
)

// large returns the encoding of an index of many files, each of some chunks.
func large(t testing.TB, files, chunks int) []byte {
	t.Helper()
	ix := &Index{Schema: Schema}
	for i := range files {
		f := File{Path: fmt.Sprintf("a/folder/%06d/a-file-with-a-name.js", i), Digest: digest.Sum(fmt.Append(nil, i))}
		for c := range chunks {
			f.Chunks = append(f.Chunks, Chunk{Digest: digest.Sum(fmt.Append(nil, i, c)), Size: MinChunk})
			f.Size += MinChunk
		}
		ix.Files = append(ix.Files, f)
	}
	ix.Archive.Size = newLayout(ix.Files).size
	return ix.Encode()
}

func TestDecodeIndex_CostsLittleWhateverTheBytes(t *testing.T) {
	good := large(t, 4000, 3)
	if _, err := DecodeIndex(good); err != nil {
		t.Fatal(err)
	}
	head := string(good[:bytes.Index(good, []byte(`"files":[`))+len(`"files":[`)])
	file := `{"path":"a","size":17179869184,"digest":"` + strings.Repeat("0", 64) + `","sha256":"` +
		strings.Repeat("0", 64) + `"`
	for name, raw := range map[string]string{
		"good":           string(good),
		"empty objects":  `{"files":[` + strings.Repeat("{},", 1<<20) + "{}]}",
		"empty files":    head + strings.Repeat("{},", 1<<20),
		"short files":    head + strings.Repeat(file+"},", 20_000),
		"empty chunks":   head + file + `,"chunks":[` + strings.Repeat("{},", 1<<20),
		"too many files": head + strings.Repeat(file+"},", MaxFiles+10),
		"long path":      head + `{"path":"` + strings.Repeat("a", 8<<20),
		"escaped path":   head + strings.Repeat(`{"path":"\u0061`, 200_000),
		"nested":         strings.Repeat("[", 1<<20),
	} {
		b := []byte(raw)
		var err error
		if used := cost.Of(func() { _, err = DecodeIndex(b) }); used > cost.Limit(len(b)) {
			t.Errorf("%s: %d bytes cost %d", name, len(b), used)
		}
		if (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeIndex_StopsAtTheFirstError(t *testing.T) {
	head := `{"schema":1,"archive":{"digest":"` + strings.Repeat("0", 64) + `","sha256":"` + strings.Repeat("0", 64) +
		`","size":1},"files":[`
	used := cost.Of(func() {
		for range 10 {
			_, _ = DecodeIndex([]byte(head + "{}," + strings.Repeat("{},", 1000)))
		}
	})
	if used > 256<<10 {
		t.Errorf("%d bytes were allocated for what is wrong at its beginning", used)
	}
}

// A file has one chunk for each MinChunk bytes at most, and one for the rest.
func TestDecodeIndex_BoundsChunks(t *testing.T) {
	ix, err := DecodeIndex(large(t, 1, 4))
	if err != nil {
		t.Fatal(err)
	}
	f := &ix.Files[0]
	f.Chunks = nil
	for range f.Size / 1024 {
		f.Chunks = append(f.Chunks, Chunk{Digest: digest.Sum([]byte("same")), Size: 1024})
	}
	if _, err := DecodeIndex(ix.Encode()); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "chunks") {
		t.Errorf("chunks of 1 KiB: %v", err)
	}
}

func TestMaxIndexOf_BoundsTheLargestIndex(t *testing.T) {
	for length := 1; length <= MaxPath; length++ {
		ix := &Index{Schema: Schema}
		for i := range 40 {
			path := fmt.Sprintf("%02d", i) + strings.Repeat(`"`, length)
			f := File{Path: path[:max(length, 2)], Size: MaxArchive / 40, Digest: digest.Sum([]byte(path))}
			ix.Files = append(ix.Files, f)
		}
		raw := len(ix.Encode())
		for i := range ix.Files {
			ix.Files[i].Size = 0 // it is the headers that the index may outgrow
		}
		if size := newLayout(ix.Files).size; int64(raw) > MaxIndexOf(size) {
			t.Fatalf("paths of %d bytes: an index of %d bytes, want at most %d", length, raw, MaxIndexOf(size))
		}
	}
	if raw := large(t, 1, 1000); int64(len(raw)) > MaxIndexOf(1000*MinChunk) {
		t.Errorf("chunks: an index of %d bytes", len(raw))
	}
	if MaxIndexOf(-1) <= 0 || MaxIndexOf(1<<62) != MaxIndex {
		t.Error("sizes that cannot be have no bound")
	}
}

// decodeGeneral is DecodeIndex by a general JSON decoder: what it has to agree with, but for the number of chunks.
func decodeGeneral(raw []byte) (*Index, error) {
	var ix Index
	if err := json.Unmarshal(raw, &ix); err != nil {
		return nil, err
	}
	if err := ix.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(raw, ix.Encode()) {
		return nil, ErrMalformed
	}
	for i := range ix.Files {
		if int64(len(ix.Files[i].Chunks)) > ix.Files[i].Size/MinChunk+1 {
			return nil, ErrMalformed
		}
	}
	return &ix, nil
}

func FuzzDecodeIndex(f *testing.F) {
	ix, _ := index(f, map[string][]byte{"a": []byte("1"), "b/c": noise(1, MaxChunk+1)})
	f.Add(ix.Encode())
	quoted, _ := index(f, map[string][]byte{"a\"\u2028\u00e9<&>": nil})
	f.Add(quoted.Encode())
	f.Add([]byte(`{"schema":1}`))
	f.Add(bytes.Replace(ix.Encode(), []byte(`"path":"a"`), []byte(`"path":"\u0061"`), 1))
	f.Add(bytes.Replace(ix.Encode(), []byte(`"size":1,`), []byte(`"size":01,`), 1))
	f.Add(bytes.Replace(ix.Encode(), []byte(`"path":"a"`), []byte("\"path\":\"\xff\""), 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var ix *Index
		var err error
		cost.Check(t, len(raw), func() { ix, err = DecodeIndex(raw) })
		if err == nil && !bytes.Equal(ix.Encode(), raw) {
			t.Error("an index was accepted that is not canonical")
		}
		if _, general := decodeGeneral(raw); (err == nil) != (general == nil) {
			t.Errorf("DecodeIndex says %v, a general decoder %v", err, general)
		}
	})
}
