package bundle

import (
	"bytes"
	"context"
	"io"
	"testing"

	"brink/bench/cost"
	"brink/digest"
)

func FuzzReadArchive(f *testing.F) {
	_, small := index(f, map[string][]byte{"a": []byte("1")})
	_, long := index(f, map[string][]byte{"ключ/" + string(bytes.Repeat([]byte("x"), 120)): []byte("1")})
	for _, archive := range []io.Reader{small, long} {
		raw, err := io.ReadAll(archive)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(tarOf(f, deep(20, 40)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		costOfArchive(t, raw)
		ix, err := IndexArchive(context.Background(), bytes.NewReader(raw))
		if err != nil {
			return
		}
		if ix.Bundle() != digest.Sum(raw) || ix.Archive.Size != int64(len(raw)) {
			t.Error("an archive was accepted whose digest is not that of its bytes")
		}
		if _, err := DecodeIndex(ix.Encode()); err != nil {
			t.Errorf("an archive was accepted whose index is not: %v", err)
		}
	})
}

func FuzzStreamReader(f *testing.F) {
	codec := NewCodec()
	f.Add(stream(f, codec.Frame([]byte("plain")), codec.Frame(bytes.Repeat([]byte("text "), 100))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cost.Check(t, len(raw), func() {
			r := NewStreamReader(bytes.NewReader(raw))
			for {
				if _, err := r.Next(); err != nil {
					return
				}
			}
		})
		frames, err := readStream(raw)
		if err == nil && !bytes.Equal(stream(t, frames...), raw) {
			t.Error("a stream was accepted that does not write back as it was")
		}
		for _, frame := range frames {
			if plain, err := codec.Plain(frame); err == nil && digest.Sum(plain) != frame.Digest {
				t.Error("a frame was accepted whose bytes do not have its digest")
			}
		}
	})
}

func FuzzDecodePatch(f *testing.F) {
	old := noise(1, 1000)
	patch, err := EncodePatch(old, noise(1, 1100), digest.SumSHA256(old))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(patch)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = applyPatch(raw, old, 1<<20) // must end, without a panic
		if got, err := ApplyPatch(raw, old, digest.SumSHA256(old), 1100); err == nil && len(got) != 1100 {
			t.Errorf("a patch gave %d bytes, of which 1,100 were wanted", len(got))
		}
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, path := range []string{"a/b", "../x", "é", `a\b`} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if CheckPath(path) == nil && CheckPaths([]string{path, path}) == nil {
			t.Errorf("%q was accepted twice in one bundle", path)
		}
	})
}
