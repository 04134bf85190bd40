package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"brink/bundle"
	"brink/store"
	"brink/store/storetest"
)

const benchSize = 8 << 20

// BenchmarkIngest brings in bundles of 8 MiB that do not compress, up to a durable Commit.
func BenchmarkIngest(b *testing.B) {
	s := open(b, store.Config{Quota: 4 << 30})
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for i := range b.N {
		b.StopTimer()
		next := storetest.Random(b, uint64(i), benchSize)
		b.StartTimer()
		storetest.MustPublish(b, s, next)
	}
}

// BenchmarkChunk reads chunks as plain bytes, verified, of a bundle that does not compress.
func BenchmarkChunk(b *testing.B) {
	s, chunks := benchChunks(b)
	for i := range b.N {
		if _, err := s.Chunk(b.Context(), chunks[i%len(chunks)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrame reads chunks as they are stored, verified by the checksum of their envelope.
func BenchmarkFrame(b *testing.B) {
	s, chunks := benchChunks(b)
	for i := range b.N {
		if _, err := s.Frame(b.Context(), chunks[i%len(chunks)].Digest); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrame_Parallel is BenchmarkFrame on all processors.
func BenchmarkFrame_Parallel(b *testing.B) {
	s, chunks := benchChunks(b)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Frame(b.Context(), chunks[i%len(chunks)].Digest); err != nil {
				b.Error(err)
			}
		}
	})
}

func benchChunks(b *testing.B) (*store.Store, []bundle.Chunk) {
	s := open(b, store.Config{})
	fixture := storetest.Random(b, 1, benchSize)
	storetest.MustPublish(b, s, fixture)
	var chunks []bundle.Chunk
	for c := range fixture.Index.Chunks() {
		chunks = append(chunks, c)
	}
	b.SetBytes(fixture.Index.Archive.Size / int64(len(chunks)))
	b.ReportAllocs()
	b.ResetTimer()
	return s, chunks
}

// BenchmarkPlainFiles is the floor: the same chunks as a file each, opened and read, and nothing verified.
func BenchmarkPlainFiles(b *testing.B) {
	dir := b.TempDir()
	fixture := storetest.Random(b, 1, benchSize)
	var names []string
	for d, f := range fixture.Frames {
		name := filepath.Join(dir, d.String())
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			b.Fatal(err)
		}
		names = append(names, name)
	}
	b.SetBytes(fixture.Index.Archive.Size / int64(len(names)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := os.ReadFile(names[i%len(names)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a store of many blobs.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	files := make(map[string][]byte)
	for i := range 20_000 {
		files[fmt.Sprintf("%d/%d", i/100, i)] = storetest.Noise(uint64(i), 100)
	}
	s := open(b, store.Config{Dir: dir})
	storetest.MustPublish(b, s, storetest.New(b, files))
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		s, err := store.Open(store.Config{Dir: dir, MinFree: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
