package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

func TestStore_ReadOnlyWhileTheDiskIsFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	s := open(t, store.Config{
		MinFree:   64 << 20,
		FreeSpace: func(string) (uint64, error) { return free.Load(), nil },
	})
	there, next := storetest.Random(t, 1, 300<<10), storetest.Random(t, 2, 300<<10)
	storetest.MustPublish(t, s, there)
	if reason := s.ReadOnly(); reason != "" {
		t.Fatalf("ReadOnly = %q", reason)
	}
	under, err := s.Ingest(t.Context(), store.IngestRequest{Index: next.Index})
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()

	free.Store(40 << 20)
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: next.Index}); !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("Ingest = %v, want ErrReadOnly", err)
	}
	if err := under.Put(next.Frames[under.Missing()[0].Digest]); !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("Put = %v, want ErrReadOnly", err)
	}
	key := store.DerivedKey{Source: there.ID(), Kind: "zstd"}
	if _, err := s.PutDerived(t.Context(), key, bytes.NewReader([]byte("x"))); !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("PutDerived = %v, want ErrReadOnly", err)
	}
	if s.ReadOnly() == "" || stats(t, s).ReadOnly == "" {
		t.Error("ReadOnly says nothing")
	}
	storetest.CheckBundle(t, s, there)
	raw, m := storetest.Manifest(t, "com.acme.shop", "beta", 1, there)
	free.Store(1 << 20)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("PutManifest on a disk without any room = %v, want ErrReadOnly", err)
	}

	free.Store(1 << 40)
	storetest.MustPublish(t, s, next)
	storetest.CheckBundle(t, s, next)
	if reason := s.ReadOnly(); reason != "" {
		t.Errorf("ReadOnly = %q, want it passed by itself", reason)
	}
}

// A promise of room counts against the disk as well: two that fit one by one do not fit together.
func TestIngest_ReservesDisk(t *testing.T) {
	s := open(t, store.Config{
		MinFree:   64 << 20,
		FreeSpace: func(string) (uint64, error) { return 69 << 20, nil },
	})
	in, err := s.Ingest(t.Context(), store.IngestRequest{Index: storetest.Random(t, 1, 3<<20).Index})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, err = s.Ingest(t.Context(), store.IngestRequest{Index: storetest.Random(t, 2, 3<<20).Index})
	if !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Ingest = %v, want ErrReadOnly", err)
	}
}

// On a real file system that is too small, the store stops in time, reads on, and recovers when there is room again.
func TestStore_RealDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		if os.Getenv("BRINK_CI") == "1" {
			t.Fatalf("mount: %v", err)
		}
		t.Skipf("needs root to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s, err := store.Open(store.Config{Dir: filepath.Join(dir, "data"), Quota: 64 << 20, MinFree: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	fill := func() (published []*storetest.Bundle) {
		for seed := uint64(1); ; seed++ {
			b := storetest.Random(t, seed, 2<<20)
			err := storetest.Publish(context.Background(), s, b, nil)
			if errors.Is(err, store.ErrReadOnly) {
				return published
			}
			if err != nil {
				t.Fatal(err)
			}
			published = append(published, b)
		}
	}
	published := fill()
	if n := len(published); n < 10 || n > 24 {
		t.Errorf("%d bundles of 2 MiB in 48 MiB", n)
	}
	// Somebody else takes what is left, to the last byte.
	other := filepath.Join(dir, "other")
	for f, err := os.Create(other); ; {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for _, b := range published {
		storetest.CheckBundle(t, s, b)
	}
	if got := fill(); len(got) > 0 {
		t.Errorf("%d bundles were published on a full disk", len(got))
	}
	if _, err := s.GC(t.Context()); err == nil {
		t.Error("GC = nil on a full disk")
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	// There is room for upkeep again: what nothing needs can be collected, and then there is room for more.
	if _, err := s.GC(t.Context()); err != nil {
		t.Errorf("GC: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	s, err = store.Open(store.Config{Dir: filepath.Join(dir, "data"), Quota: 64 << 20, MinFree: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range published {
		storetest.CheckBundle(t, s, b)
	}
	storetest.MustPublish(t, s, storetest.Random(t, 1000, 1<<20))
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
