package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"brink/store"
	"brink/store/storetest"
)

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
