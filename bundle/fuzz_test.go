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
	// A frame that begins with the largest window, and another that states the largest content and no window, each with
	// one block that says to repeat a byte.
	head, block := patch[:patchHeaderSize], "\x03\x00\x00x"
	for _, window := range []byte{13 << 3, 17 << 3, 31 << 3} { // 8 MiB, 128 MiB, 2 TiB (RFC 8878, section 3.1.1.1.2)
		f.Add(append(append(bytes.Clone(head), 0x28, 0xb5, 0x2f, 0xfd, 0, window), block...))
	}
	f.Add(append(append(bytes.Clone(head), 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 8), block...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The window comes on top: RFC 9842, section 5, has every client take 8 MiB.
		cost.AtMost(t, cost.Limit(len(raw))+8<<20, func() {
			r, err := DecodePatch(bytes.NewReader(raw), old, digest.SumSHA256(old))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // must end, without a panic
			_ = r.Close()
		})
		var got []byte
		var err error
		cost.Check(t, len(raw), func() { got, err = ApplyPatch(raw, old, digest.SumSHA256(old), 1100) })
		if err == nil && len(got) != 1100 {
			t.Errorf("a patch gave %d bytes, of which 1,100 were wanted", len(got))
		}
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, path := range []string{"a/b", "../x", "é", `a\b`} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		cost.Check(t, len(path), func() { _ = CheckPath(path) })
		if CheckPath(path) == nil && CheckPaths([]string{path, path}) == nil {
			t.Errorf("%q was accepted twice in one bundle", path)
		}
	})
}
