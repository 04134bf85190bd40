package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/store/internal/database"
)

// Tests of what cannot be brought about from outside. Package storetest cannot be used here, for it imports this one.

func openStore(t *testing.T, c Config) *Store {
	t.Helper()
	c.Dir, c.MinFree = t.TempDir(), 1<<20
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// upload brings in a bundle of one file and leaves the commit to the caller.
func upload(t *testing.T, s *Store, text string) *Ingest {
	t.Helper()
	folder := fstest.MapFS{"file": &fstest.MapFile{Data: []byte(text)}}
	ix, err := bundle.Folder{FS: folder}.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.Ingest(t.Context(), IngestRequest{Index: ix})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Put(bundle.NewCodec().Frame([]byte(text))); err != nil {
		t.Fatal(err)
	}
	return in
}

func commit(t *testing.T, in *Ingest) digest.Digest {
	t.Helper()
	if err := errors.Join(in.Commit(t.Context()), in.Close()); err != nil {
		t.Fatal(err)
	}
	return in.ix.Bundle()
}

// The event trace in pins: a bundle is committed and let go of between the two halves of a sweep.
func TestSweep_BundleCommittedMeanwhile(t *testing.T) {
	s := openStore(t, Config{})
	in := upload(t, s, "a file")
	if err := in.Commit(t.Context()); err != nil { // so that the index is there when the sweep takes stock
		t.Fatal(err)
	}
	s.bundles.catalog.change(func(entries map[digest.Digest]*entry[bundleRecord]) { delete(entries, in.ix.Bundle()) })
	in.committed = false

	s.pins.startSweep()
	p, err := s.evictor.plan(t.Context(), evictUnreferenced)
	if err != nil || len(p.names) != 3 {
		t.Fatalf("plan of %d blobs, %v, want 3", len(p.names), err)
	}
	id := commit(t, in)
	if freed, err := s.evictor.sweep(t.Context(), p, 0); freed != 0 || err != nil {
		t.Errorf("sweep = %d bytes, %v, want none", freed, err)
	}
	s.pins.finishSweep()
	if lost, err := s.Lost(t.Context(), id); len(lost) != 0 || err != nil {
		t.Errorf("the bundle has lost %d chunks: %v", len(lost), err)
	}
	if n := len(s.pins.count); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}

// A bundle that a channel has come to need between the plan and the removal stays, with all its chunks.
func TestEvict_BundleNeededMeanwhile(t *testing.T) {
	s := openStore(t, Config{})
	id := commit(t, upload(t, s, "a file"))
	s.pins.startSweep()
	defer s.pins.finishSweep()
	p, err := s.evictor.plan(t.Context(), evictAll)
	if err != nil || len(p.victims) != 1 {
		t.Fatalf("plan has %d victims, %v", len(p.victims), err)
	}
	s.setNeeds("com.acme.shop/beta", needs{given: []digest.Digest{id}})
	kept, err := s.evictor.removeRecords(t.Context(), p.victims)
	if err != nil || len(kept) != 1 {
		t.Fatalf("removeRecords keeps %d, %v, want 1", len(kept), err)
	}
	if _, err := s.Bundle(id); err != nil {
		t.Error(err)
	}
}

// A signed record that cannot be read is an error, nobody knows which bundles it needs, and it can be replaced.
func TestManifest_Damaged(t *testing.T) {
	s := openStore(t, Config{Quota: 1 << 20})
	id := commit(t, upload(t, s, strings.Repeat("a file ", 20_000)))
	key := manifestKind + "com.acme.shop/beta"
	value := sealRecord(key, []byte("{}"))
	value[len(value)-1] ^= 1
	if err := s.records.db.Update(func(txn database.Txn) error { return txn.Set([]byte(key), value) }); err != nil {
		t.Fatal(err)
	}
	if err := s.load(); err != nil { // as Open does
		t.Fatal(err)
	}
	if raw, err := s.Manifest("com.acme.shop", "beta"); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest = %q, %v, want ErrDamaged", raw, err)
	}
	evictable := func() bool {
		p, err := s.evictor.plan(t.Context(), evictAll)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.victims) > 0
	}
	if evictable() {
		t.Error("a bundle may be evicted although a manifest cannot be read")
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || len(report.Records) != 1 || report.Records[0] != key {
		t.Errorf("Verify = %+v, %v", report, err)
	}
	m := channel.NewManifest("acme", "com.acme.shop", "beta")
	m.Release.Bundle = digest.Sum([]byte("another"))
	if err := s.PutManifest(t.Context(), []byte("{}"), m, digest.Digest{}); !errors.Is(err, ErrMissingBundle) {
		t.Fatalf("PutManifest = %v, want ErrMissingBundle", err)
	}
	m.Release.Bundle = id
	if err := s.PutManifest(t.Context(), []byte("{}"), m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	if raw, err := s.Manifest("com.acme.shop", "beta"); err != nil || string(raw) != "{}" {
		t.Errorf("Manifest = %q, %v", raw, err)
	}
}

// A state that cannot be read is passed over and counted, and the next that is put in its place mends it.
func TestState_Damaged(t *testing.T) {
	s := openStore(t, Config{})
	put := func(states map[string][]byte) {
		t.Helper()
		if err := s.PutState(t.Context(), states); err != nil {
			t.Fatal(err)
		}
	}
	put(map[string][]byte{"stats/a": []byte("1"), "stats/b": []byte("2"), "stats/c": []byte("3")})
	key := stateKind + "stats/b"
	value := sealRecord(stateKind+"stats/a", []byte("1")) // sound, and under a foreign key
	if err := s.records.db.Update(func(txn database.Txn) error { return txn.Set([]byte(key), value) }); err != nil {
		t.Fatal(err)
	}
	read := func() (text string) {
		for key, value := range s.States("stats/") {
			text += key + "=" + string(value) + " "
		}
		return text
	}
	if got := read(); got != "stats/a=1 stats/c=3 " || s.records.bad.Load() != 1 {
		t.Errorf("States yields %s, and %d bad records were counted", got, s.records.bad.Load())
	}
	if got, err := s.State("stats/b"); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) {
		t.Errorf("State = %q, %v, want ErrDamaged", got, err)
	}
	if n := s.records.bad.Load(); n != 2 {
		t.Errorf("%d bad records were counted, want one by States and one by State", n)
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || len(report.Records) != 1 || report.Records[0] != key {
		t.Errorf("Verify = %+v, %v", report, err)
	}
	put(map[string][]byte{"stats/b": []byte("4")})
	if got := read(); got != "stats/a=1 stats/b=4 stats/c=3 " {
		t.Errorf("States yields %s after it was mended", got)
	}
	if report, err := s.Verify(t.Context(), nil); err != nil || !report.OK() {
		t.Errorf("Verify after that = %+v, %v", report, err)
	}
}

// The index of a bundle has lost a part; the chunks are found through the list of chunks, and the other way round.
func TestRefs_WithHalfOfTheRecord(t *testing.T) {
	s := openStore(t, Config{})
	id := commit(t, upload(t, s, "a file"))
	e := s.bundles.catalog.get(id)
	chunk := digest.Sum([]byte("a file"))
	for name, part := range map[string]digest.Digest{
		"index":  e.record.Index.Parts[0],
		"chunks": e.record.Chunks.Parts[0],
	} {
		f, err := s.Frame(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.blobs.remove([]digest.Digest{part}); err != nil {
			t.Fatal(err)
		}
		found := false
		err = s.evictor.refs(t.Context(), victim{bundle: e}, func(d digest.Digest) { found = found || d == chunk })
		if err != nil || !found {
			t.Errorf("without the %s: %v, chunk found %v", name, err, found)
		}
		if err := s.blobs.put(f); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlan_Choose(t *testing.T) {
	p := &plan{
		names: []uint64{1, 2, 3, 4, 5}, sizes: []uint32{10, 20, 30, 40, 50}, ranks: []int32{0, 1, 2, 2, live},
		victims: make([]victim, 2),
	}
	for _, test := range []struct {
		wanted, needed int64
		victims        int
	}{{5, 1, 0}, {10, 1, 0}, {11, 1, 1}, {30, 30, 1}, {31, 1, 2}, {101, 100, 2}, {101, 101, 0}} {
		if got := p.choose(test.wanted, test.needed); got != test.victims {
			t.Errorf("choose(%d, %d) = %d, want %d", test.wanted, test.needed, got, test.victims)
		}
	}
}

func TestObject_ListsOfParts(t *testing.T) {
	s := openStore(t, Config{})
	data := bytes.Repeat([]byte("0123456789abcdef"), (inlineParts*partSize+100)/16)
	for i := range inlineParts + 1 {
		copy(data[i*partSize:], fmt.Sprint("part ", i))
	}
	o, err := s.PutDerived(t.Context(), DerivedKey{Kind: "x"}, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	record := s.derived.catalog.get(DerivedKey{Kind: "x"}.String()).record.Object
	if len(record.Lists) != 1 || len(record.Parts) != 0 || len(o.parts) != inlineParts+1 {
		t.Errorf("%d lists, %d parts in the record, %d parts", len(record.Lists), len(record.Parts), len(o.parts))
	}
	if err := record.check(); err != nil {
		t.Error(err)
	}
}
