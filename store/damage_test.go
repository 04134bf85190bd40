package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

// damage flips a bit of data, wherever it lies in the files of a closed folder.
func damage(t testing.TB, dir string, data []byte) {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(raw, data); i >= 0 {
			found = true
			raw[i+len(data)/2] ^= 4
			return os.WriteFile(path, raw, 0o600)
		}
		return nil
	})
	if err != nil || !found {
		t.Fatalf("damage: found %v, %v", found, err)
	}
}

// closed makes a store, lets do fill it, and closes it.
func closed(t *testing.T, dir string, do func(s *store.Store)) {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestChunk_DamagedIsSetAsideAndHealed(t *testing.T) {
	dir := t.TempDir()
	b := storetest.Random(t, 1, 1<<20)
	closed(t, dir, func(s *store.Store) { storetest.MustPublish(t, s, b) })
	var victims []bundle.Chunk
	for c := range b.Index.Chunks() {
		if victims = append(victims, c); len(victims) == 3 {
			break
		}
	}
	for _, c := range victims {
		damage(t, dir, b.Frames[c.Digest].Data)
	}
	closed(t, dir, func(s *store.Store) {
		// One is found as a chunk, one as a frame, one by Commit.
		plain, err := s.Chunk(t.Context(), victims[0])
		if !errors.Is(err, store.ErrNotFound) || !errors.Is(err, store.ErrDamaged) {
			t.Fatalf("Chunk = %d bytes, %v, want ErrNotFound and ErrDamaged", len(plain), err)
		}
		f, err := s.Frame(t.Context(), victims[1].Digest)
		if !errors.Is(err, store.ErrNotFound) || !errors.Is(err, store.ErrDamaged) {
			t.Fatalf("Frame = %d bytes, %v, want ErrNotFound and ErrDamaged", len(f.Data), err)
		}
		for _, c := range victims[:2] {
			if has, err := s.Has(c.Digest); has || err != nil {
				t.Errorf("Has of what was set aside = %v, %v", has, err)
			}
			if _, err := s.Chunk(t.Context(), c); !errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrDamaged) {
				t.Errorf("Chunk the second time = %v, want ErrNotFound", err)
			}
		}
		got := stats(t, s)
		if got.Damaged != 2 || len(got.Quarantine) != 2 {
			t.Errorf("Damaged = %d, %d in quarantine, want 2", got.Damaged, len(got.Quarantine))
		}
		if known, err := s.Bundle(b.ID()); err != nil || known.ID != b.ID() {
			t.Errorf("Bundle = %v, want it still known", err)
		}
		raw, m := storetest.Manifest(t, "com.acme.shop", "beta", 1, b)
		if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); !errors.Is(err, store.ErrMissingBundle) {
			t.Errorf("PutManifest = %v, want ErrMissingBundle", err)
		}
		in, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		put := func(want ...bundle.Chunk) {
			t.Helper()
			missing := in.Missing()
			if len(missing) != len(want) {
				t.Fatalf("Missing has %d chunks, want %d", len(missing), len(want))
			}
			for i, c := range missing {
				if c != want[i] {
					t.Errorf("Missing has %v, want %v", c, want[i])
				}
				if err := in.Put(b.Frames[c.Digest]); err != nil {
					t.Fatal(err)
				}
			}
		}
		put(victims[0], victims[1])
		if err := in.Commit(t.Context()); !errors.Is(err, store.ErrIncomplete) {
			t.Fatalf("Commit = %v, want ErrIncomplete: a chunk is damaged", err)
		}
		put(victims[2])
		if err := in.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		storetest.CheckBundle(t, s, b)
	})
	closed(t, dir, func(s *store.Store) {
		if got := stats(t, s); len(got.Quarantine) != 3 || got.Damaged != 0 {
			t.Errorf("Quarantine of the run before has %d, want 3; Damaged = %d, want 0", len(got.Quarantine), got.Damaged)
		}
		storetest.CheckBundle(t, s, b)
	})
}

func TestStore_VerifyTellsDamage(t *testing.T) {
	dir := t.TempDir()
	whole, broken := storetest.Random(t, 1, 300<<10), storetest.Random(t, 2, 300<<10)
	closed(t, dir, func(s *store.Store) {
		storetest.MustPublish(t, s, whole)
		storetest.MustPublish(t, s, broken)
		calls, last, total := int64(0), int64(0), int64(0)
		report, err := s.Verify(t.Context(), func(done, of int64) { calls, last, total = calls+1, done, of })
		if err != nil || !report.OK() || report.Blobs != stats(t, s).Blobs {
			t.Errorf("Verify of a sound store = %+v, %v", report, err)
		}
		if calls != report.Blobs || last != total || total != report.Blobs {
			t.Errorf("progress: %d calls, %d of %d, want %d", calls, last, total, report.Blobs)
		}
	})
	var victim bundle.Chunk
	for c := range broken.Index.Chunks() {
		victim = c
		break
	}
	damage(t, dir, broken.Frames[victim.Digest].Data)
	closed(t, dir, func(s *store.Store) {
		report, err := s.Verify(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if report.OK() || len(report.Damaged) != 1 || report.Damaged[0] != victim.Digest {
			t.Errorf("Damaged = %v, want %v", report.Damaged, victim.Digest)
		}
		if len(report.Incomplete) != 1 || report.Incomplete[0].ID != broken.ID() || report.Incomplete[0].Lost != 1 {
			t.Errorf("Incomplete = %+v, want one chunk of %v", report.Incomplete, broken.ID())
		}
	})
}

func TestStore_ScrubFindsDamage(t *testing.T) {
	dir := t.TempDir()
	b := storetest.Random(t, 1, 300<<10)
	closed(t, dir, func(s *store.Store) { storetest.MustPublish(t, s, b) })
	var victim bundle.Chunk
	for c := range b.Index.Chunks() {
		victim = c
	}
	damage(t, dir, b.Frames[victim.Digest].Data)
	s := open(t, store.Config{Dir: dir, ScrubRate: 1 << 30})
	ticker := time.NewTicker(5 * time.Millisecond) // the scrubber tells nobody when it is done
	defer ticker.Stop()
	for stats(t, s).Scrubbed.IsZero() {
		select {
		case <-t.Context().Done():
			t.Fatal("the scrubber has not finished a pass")
		case <-ticker.C:
		}
	}
	if got := stats(t, s); got.Damaged != 1 || len(got.Quarantine) != 1 || got.Quarantine[0].Digest != victim.Digest {
		t.Errorf("Stats = %+v, want %v found", got, victim.Digest)
	}
}

func TestDerived_DamagedIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	data := storetest.Noise(1, 700<<10)
	key := store.DerivedKey{Source: digest.Sum(data), Kind: "zstd"}
	put := func(s *store.Store) {
		if _, err := s.PutDerived(t.Context(), key, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, dir, put)
	damage(t, dir, data[300<<10:400<<10]) // within the second part
	closed(t, dir, func(s *store.Store) {
		o, err := s.Derived(key)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 256<<10)
		if _, err := o.ReadAt(first, 0); err != nil || !bytes.Equal(first, data[:len(first)]) {
			t.Fatalf("the sound part: %v", err)
		}
		if n, err := o.ReadAt(first, 256<<10); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("the damaged part = %d bytes, %v, want ErrNotFound", n, err)
		}
		if _, err := s.Derived(key); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Derived = %v, want ErrNotFound", err)
		}
	})
	closed(t, dir, func(s *store.Store) {
		if _, err := s.Derived(key); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Derived after a restart = %v, want ErrNotFound", err)
		}
		put(s)
		o, err := s.Derived(key)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := o.Reader().WriteTo(&b); err != nil || !bytes.Equal(b.Bytes(), data) {
			t.Errorf("made again: %v", err)
		}
	})
}

// The database of records is put back to an earlier state, as a damaged log puts it.
func TestOpen_RecordsRolledBack(t *testing.T) {
	dir := t.TempDir()
	trust := func(text, old string) func(s *store.Store) {
		return func(s *store.Store) {
			expect := digest.Digest{}
			if old != "" {
				expect = digest.Sum([]byte(old))
			}
			if err := s.PutTrust(t.Context(), "acme", []byte(text), expect); err != nil {
				t.Fatal(err)
			}
		}
	}
	closed(t, dir, trust("first", ""))
	meta, saved := filepath.Join(dir, "meta"), t.TempDir()
	if err := os.CopyFS(filepath.Join(saved, "meta"), os.DirFS(meta)); err != nil {
		t.Fatal(err)
	}
	closed(t, dir, trust("second", "first"))
	head, err := os.ReadFile(filepath.Join(meta, "HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(meta); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(meta, os.DirFS(filepath.Join(saved, "meta"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(meta, "HEAD"), head, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(store.Config{Dir: dir})
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "HEAD") {
		t.Fatalf("Open = %v, want ErrCorrupt and what to do", err)
	}
	if err := os.Remove(filepath.Join(meta, "HEAD")); err != nil {
		t.Fatal(err)
	}
	closed(t, dir, func(s *store.Store) {
		if raw, err := s.Trust("acme"); err != nil || string(raw) != "first" {
			t.Errorf("Trust = %q, %v", raw, err)
		}
	})
}

// What the hint of ErrCorrupt says works: without its chunks the store opens, and a publish heals the bundle.
func TestOpen_ChunksMovedAside(t *testing.T) {
	dir := t.TempDir()
	b := storetest.Random(t, 1, 300<<10)
	closed(t, dir, func(s *store.Store) { storetest.MustPublish(t, s, b) })
	tables, err := filepath.Glob(filepath.Join(dir, "chunks", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	if err := os.Truncate(tables[0], 100); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(store.Config{Dir: dir, MinFree: 1 << 20})
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "move "+filepath.Join(dir, "chunks")+" away") {
		t.Fatalf("Open = %v, want ErrCorrupt and what to do", err)
	}
	if err := os.Rename(filepath.Join(dir, "chunks"), filepath.Join(t.TempDir(), "chunks")); err != nil {
		t.Fatal(err)
	}
	closed(t, dir, func(s *store.Store) {
		if _, err := s.Bundle(b.ID()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Bundle = %v, want ErrNotFound", err)
		}
		storetest.MustPublish(t, s, b)
		storetest.CheckBundle(t, s, b)
	})
}

// Badger forgets what follows a damaged entry when it rewrites a file of the value log. A damaged chunk must cost no
// other.
func TestGC_RewritesPastDamage(t *testing.T) {
	dir := t.TempDir()
	b, garbage := storetest.Random(t, 1, 1<<20), storetest.Random(t, 2, 3<<20)
	closed(t, dir, func(s *store.Store) {
		in, err := s.Ingest(t.Context(), store.IngestRequest{Index: garbage.Index})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range garbage.Frames {
			if err := in.Put(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		storetest.MustPublish(t, s, b)
	})
	var victim bundle.Chunk
	for c := range b.Index.Chunks() {
		victim = c
		break
	}
	damage(t, dir, b.Frames[victim.Digest].Data)
	closed(t, dir, func(s *store.Store) {
		report, err := s.GC(t.Context())
		if err != nil || report.Evicted < 3<<20 || report.Disk < 2<<20 || stats(t, s).Rewritten == 0 {
			t.Fatalf("GC = %+v, %v, want the garbage gone from disk", report, err)
		}
		for c := range b.Index.Chunks() {
			if _, err := s.Chunk(t.Context(), c); (err != nil) != (c == victim) {
				t.Errorf("Chunk(%s) = %v; damaged is %s", c.Digest.Short(), err, victim.Digest.Short())
			}
		}
		storetest.MustPublish(t, s, b)
		storetest.CheckBundle(t, s, b)
	})
}

// In a folder whose name reads like a pattern a damaged chunk costs no other either.
func TestOpen_FolderNameIsNoPattern(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data[1]")
	b := storetest.Random(t, 1, 1<<20)
	closed(t, dir, func(s *store.Store) { storetest.MustPublish(t, s, b) })
	var victim bundle.Chunk
	for c := range b.Index.Chunks() {
		victim = c
		break
	}
	damage(t, dir, b.Frames[victim.Digest].Data)
	closed(t, dir, func(s *store.Store) {
		for c := range b.Index.Chunks() {
			if _, err := s.Chunk(t.Context(), c); (err != nil) != (c == victim) {
				t.Errorf("Chunk(%s) = %v; damaged is %s", c.Digest.Short(), err, victim.Digest.Short())
			}
		}
	})
}
