package store_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

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
