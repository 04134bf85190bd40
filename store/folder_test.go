package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brink/store"
	"brink/store/storetest"
)

func TestOpen_OnlyOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(store.Config{Dir: dir})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Fatalf("Open = %v, want ErrLocked and who holds it", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, store.Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RefusesOtherFolders(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"newer":     {"FORMAT": "brink-store 2\n"},
		"other":     {"FORMAT": "something else\n"},
		"not empty": {"notes.txt": "mine"},
		"no stamp":  {"chunks": "", "LOCK": ""},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Open(store.Config{Dir: dir}); !errors.Is(err, store.ErrFormat) {
			t.Errorf("%s: Open = %v, want ErrFormat", name, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(files) {
			t.Errorf("%s: Open left files behind: %v, %v", name, entries, err)
		}
	}
	fresh := t.TempDir()
	for _, file := range []string{"LOCK", "FORMAT.new"} { // what a crash of the first start leaves
		if err := os.WriteFile(filepath.Join(fresh, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(fresh, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	open(t, store.Config{Dir: fresh})
}

func TestConfig_Validate(t *testing.T) {
	for name, c := range map[string]store.Config{
		"no folder":      {},
		"negative quota": {Dir: "x", Quota: -1},
		"negative rate":  {Dir: "x", ScrubRate: -1},
		"high water":     {Dir: "x", HighWater: 1.1},
		"low above high": {Dir: "x", HighWater: 0.5, LowWater: 0.6},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s: Validate = nil", name)
		}
		if _, err := store.Open(c); err == nil {
			t.Errorf("%s: Open = nil", name)
		}
	}
	if err := (store.Config{Dir: "x", HighWater: 0.5}).Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
}

func TestStore_AfterClose(t *testing.T) {
	s := open(t, store.Config{})
	b := storetest.Random(t, 1, 100<<10)
	storetest.MustPublish(t, s, b)
	in, err := s.Ingest(t.Context(), store.IngestRequest{Index: storetest.Random(t, 2, 100<<10).Index})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, bundleErr := s.Bundle(b.ID())
	_, chunkErr := s.Chunk(t.Context(), in.Missing()[0])
	_, ingestErr := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index})
	_, manifestErr := s.Manifest("a", "b")
	_, gcErr := s.GC(t.Context())
	_, verifyErr := s.Verify(t.Context(), nil)
	for name, err := range map[string]error{
		"Bundle": bundleErr, "Chunk": chunkErr, "Ingest": ingestErr, "Manifest": manifestErr, "Verify": verifyErr,
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", name, err)
		}
	}
	if gcErr == nil {
		t.Error("GC = nil after Close")
	}
	if err := errors.Join(in.Close(), s.Close()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// What the store accounts for while it works is what it counts when it is opened.
func TestStore_AccountsExactly(t *testing.T) {
	dir := t.TempDir()
	var before store.Stats
	closed(t, dir, func(s *store.Store) {
		storetest.MustPublish(t, s, storetest.Random(t, 1, 3<<20))
		files := make(map[string][]byte)
		for i := range 300 {
			files[fmt.Sprintf("%d/%d", i%7, i)] = storetest.Noise(uint64(i), 1+i*i%20_000)
		}
		storetest.MustPublish(t, s, storetest.New(t, files))
		before = stats(t, s)
	})
	closed(t, dir, func(s *store.Store) {
		after := stats(t, s)
		if after.Stored != before.Stored || after.Blobs != before.Blobs || after.Reserved != 0 {
			t.Errorf("stored %d in %d blobs, counted %d in %d", before.Stored, before.Blobs, after.Stored, after.Blobs)
		}
		if after.Disk < after.Stored*8/10 || after.Disk > after.Stored*3/2 {
			t.Errorf("stored %d, on disk %d", after.Stored, after.Disk)
		}
	})
}

// Times of use are kept, so that a restart does not change what is evicted.
func TestStore_RemembersUse(t *testing.T) {
	dir := t.TempDir()
	c := &clock{}
	b := storetest.Random(t, 1, 10<<10)
	var used string
	s := open(t, store.Config{Dir: dir, Now: c.Now})
	storetest.MustPublish(t, s, b)
	if _, err := s.Bundle(b.ID()); err != nil {
		t.Fatal(err)
	}
	for info := range s.Bundles() {
		used = info.Used.String()
		if !info.Used.After(info.Created) {
			t.Errorf("used %v, created %v", info.Used, info.Created)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed(t, dir, func(s *store.Store) {
		for info := range s.Bundles() {
			if info.Used.String() != used {
				t.Errorf("used %v, want %v", info.Used, used)
			}
		}
	})
}
