package bundle

import (
	"bytes"
	"context"
	"io"
	"testing"

	"brink/digest"
)

func BenchmarkCut(b *testing.B) {
	data := noise(1, 5<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := data; len(rest) > 0; rest = rest[cut(rest):] {
		}
	}
}

func BenchmarkIndexArchive(b *testing.B) {
	_, archive := index(b, map[string][]byte{"app.js": noise(1, 4<<20), "style.css": noise(2, 1<<20)})
	raw, err := io.ReadAll(archive)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := IndexArchive(context.Background(), bytes.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodec_Plain(b *testing.B) {
	codec := NewCodec()
	frame := codec.Frame(bytes.Repeat([]byte("export const brink = 1;\n"), AvgChunk/24))
	b.SetBytes(frame.Size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Plain(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPatch(b *testing.B) {
	old := noise(1, 5<<20)
	next := append(noise(2, 10_000), old...)
	name := digest.SumSHA256(old)
	patch, err := EncodePatch(old, next, name)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(next)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := EncodePatch(old, next, name); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(next)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := applyPatch(patch, old, len(next)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
