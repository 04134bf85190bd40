package storetest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"brink/bundle"
	"brink/digest"
	"brink/store"
)

// Run tests that a store does what package store documents. open returns an empty store and closes it when t ends.
func Run(t *testing.T, open func(t *testing.T, c store.Config) *store.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *store.Store)
	}{
		{"CommittedBundleIsThere", committedBundle},
		{"ReportsWhatIsMissing", reportsMissing},
		{"RefusesWhatDoesNotBelong", refuses},
		{"RefusesAnIndexThatLies", refusesLies},
		{"UncommittedChunksAreNotSentAgain", uncommitted},
		{"IngestOfOneBundleByMany", ingestByMany},
		{"ManifestIsComparedAndSet", manifestCAS},
		{"ManifestNeedsItsBundle", manifestNeeds},
		{"ManifestNeedsAttachmentsAndWhatOthersGet", manifestNeedsAll},
		{"TrustIsComparedAndSet", trustCAS},
		{"StatesArePutAndRead", states},
		{"StatesHaveBounds", stateBounds},
		{"DerivedObjects", derived},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t, store.Config{})) })
	}
}

func committedBundle(t *testing.T, s *store.Store) {
	b := Random(t, 1, 3<<20)
	intent := []byte("an intent, as it came\x00\n")
	if _, err := s.Bundle(b.ID()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Bundle before = %v, want ErrNotFound", err)
	}
	if err := Publish(t.Context(), s, b, intent); err != nil {
		t.Fatal(err)
	}
	CheckBundle(t, s, b)
	if got, err := s.Intent(b.ID()); err != nil || !bytes.Equal(got, intent) {
		t.Errorf("Intent = %q, %v", got, err)
	}
	o, err := s.Index(b.ID())
	if err != nil {
		t.Fatal(err)
	}
	r := o.Reader()
	defer r.Close()
	if raw, err := io.ReadAll(r); err != nil || !bytes.Equal(raw, b.Index.Encode()) {
		t.Errorf("Index is not what was published: %v", err)
	}
	infos := slices.Collect(s.Bundles())
	if len(infos) != 1 || infos[0].ID != b.ID() || infos[0].Index != o.Digest() {
		t.Errorf("Bundles = %+v", infos)
	}
	for d, f := range b.Frames {
		if got, err := s.Frame(t.Context(), d); err != nil || got.Size != f.Size || !bytes.Equal(got.Data, f.Data) {
			t.Fatalf("Frame(%s) is not what was sent: %v", d, err)
		}
	}
	if err := Publish(t.Context(), s, b, nil); err != nil {
		t.Errorf("publish again: %v", err)
	}
	if got, err := s.Intent(b.ID()); err != nil || !bytes.Equal(got, intent) {
		t.Errorf("Intent after a publish without one = %q, %v", got, err)
	}
}

// CheckBundle fails the test unless the store has the bundle, byte for byte.
func CheckBundle(t testing.TB, s *store.Store, b *Bundle) {
	t.Helper()
	got, err := s.Bundle(b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Index.Encode(), b.Index.Encode()) {
		t.Fatal("the index is not what was published")
	}
	h := digest.NewHasher()
	if _, err := bundle.NewArchive(t.Context(), got.Index, s).WriteTo(h); err != nil {
		t.Fatal(err)
	}
	if h.Digest() != b.ID() {
		t.Fatalf("the archive is %s, want %s", h.Digest(), b.ID())
	}
}

func reportsMissing(t *testing.T, s *store.Store) {
	old := New(t, map[string][]byte{"a": Noise(1, 1<<20), "b": Noise(2, 300<<10)})
	MustPublish(t, s, old)
	next := New(t, map[string][]byte{"a": Noise(1, 1<<20), "c": Noise(3, 300<<10)})
	in, err := s.Ingest(t.Context(), store.IngestRequest{Index: next.Index})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var want []bundle.Chunk
	for c := range next.Index.Chunks() {
		if _, shared := old.Frames[c.Digest]; !shared {
			want = append(want, c)
		}
	}
	if got := in.Missing(); !slices.Equal(got, want) {
		t.Fatalf("Missing has %d chunks, want %d in the order of the index", len(got), len(want))
	}
	if err := in.Commit(t.Context()); !errors.Is(err, store.ErrIncomplete) {
		t.Fatalf("Commit = %v, want ErrIncomplete", err)
	}
	if _, err := s.Bundle(next.ID()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Bundle = %v, want ErrNotFound", err)
	}
	for i, c := range want {
		if err := in.Put(next.Frames[c.Digest]); err != nil {
			t.Fatal(err)
		}
		if got := in.Missing(); len(got) != len(want)-i-1 {
			t.Fatalf("Missing has %d chunks after %d of %d", len(got), i+1, len(want))
		}
	}
	if err := in.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	CheckBundle(t, s, next)
}

func refuses(t *testing.T, s *store.Store) {
	b, other := Random(t, 1, 200<<10), Random(t, 2, 200<<10)
	in, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, f := range other.Frames {
		if err := in.Put(f); !errors.Is(err, store.ErrUnwanted) {
			t.Fatalf("Put of a foreign chunk = %v, want ErrUnwanted", err)
		}
		if has, err := s.Has(f.Digest); has || err != nil {
			t.Fatalf("a foreign chunk is in the store: %v", err)
		}
	}
	for _, f := range b.Frames {
		bad := f
		bad.Data = bytes.Clone(f.Data)
		bad.Data[len(bad.Data)/2] ^= 1
		if err := in.Put(bad); !errors.Is(err, digest.ErrMismatch) && !errors.Is(err, bundle.ErrMalformed) {
			t.Fatalf("Put of a damaged chunk = %v", err)
		}
		if has, err := s.Has(f.Digest); has || err != nil {
			t.Fatalf("a damaged chunk is in the store: %v", err)
		}
	}
	if _, err := s.Ingest(t.Context(), store.IngestRequest{}); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("Ingest of nothing = %v, want ErrMalformed", err)
	}
	empty := &bundle.Index{Schema: 1}
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: empty}); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("Ingest of an empty index = %v, want ErrMalformed", err)
	}
}

func refusesLies(t *testing.T, s *store.Store) {
	b, other := Random(t, 1, 200<<10), Random(t, 2, 200<<10)
	for name, lie := range map[string]func(ix *bundle.Index){
		"id":          func(ix *bundle.Index) { ix.Archive.Digest = other.ID() },
		"SHA-256":     func(ix *bundle.Index) { ix.Archive.SHA256 = other.Index.Archive.SHA256 },
		"file SHA256": func(ix *bundle.Index) { ix.Files[0].SHA256 = other.Index.Files[1].SHA256 },
	} {
		ix := *b.Index
		ix.Files = slices.Clone(ix.Files)
		lie(&ix)
		err := Publish(t.Context(), s, &Bundle{Index: &ix, Frames: b.Frames}, nil)
		if !errors.Is(err, store.ErrMismatch) {
			t.Errorf("publish with a wrong %s = %v, want ErrMismatch", name, err)
		}
		if _, err := s.Bundle(ix.Bundle()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a bundle with a wrong %s is in the store: %v", name, err)
		}
	}
}

func uncommitted(t *testing.T, s *store.Store) {
	b := Random(t, 1, 1<<20)
	first, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index})
	if err != nil {
		t.Fatal(err)
	}
	missing := first.Missing()
	half := missing[:len(missing)/2]
	for _, c := range half {
		if err := first.Put(b.Frames[c.Digest]); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Put(b.Frames[missing[0].Digest]); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Put after Close = %v, want ErrClosed", err)
	}
	if err := first.Commit(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit after Close = %v, want ErrClosed", err)
	}
	if stats, err := s.Stats(); err != nil || stats.Reserved != 0 || stats.Blobs != int64(len(half)) {
		t.Errorf("Stats = %+v, %v: want %d blobs and nothing reserved", stats, err, len(half))
	}
	again, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Missing(); !slices.Equal(got, missing[len(half):]) {
		t.Errorf("Missing has %d chunks, want the other %d", len(got), len(missing)-len(half))
	}
}

func ingestByMany(t *testing.T, s *store.Store) {
	b := Random(t, 1, 2<<20)
	var work sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		work.Go(func() { errs[i] = Publish(t.Context(), s, b, nil) })
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	CheckBundle(t, s, b)
	stats, err := s.Stats()
	if err != nil || stats.Reserved != 0 {
		t.Errorf("Reserved = %d after all were closed, %v", stats.Reserved, err)
	}
	if want := int64(len(b.Frames) + 2); stats.Blobs != want { // and one part each of the index and the list of chunks
		t.Errorf("Blobs = %d, want %d", stats.Blobs, want)
	}
}

func trustCAS(t *testing.T, s *store.Store) {
	first, second := []byte("{first}"), []byte("{second}")
	if err := s.PutTrust(t.Context(), "../acme", first, digest.Digest{}); err == nil {
		t.Error("PutTrust takes any name")
	}
	if err := s.PutTrust(t.Context(), "acme", first, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTrust(t.Context(), "acme", second, digest.Digest{}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("PutTrust on another = %v, want ErrConflict", err)
	}
	if err := s.PutTrust(t.Context(), "acme", second, digest.Sum(first)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Trust("acme"); err != nil || !bytes.Equal(got, second) {
		t.Fatalf("Trust = %q, %v", got, err)
	}
	if _, err := s.Trust("other"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Trust of nobody = %v, want ErrNotFound", err)
	}
	for version, raw := range map[uint64][]byte{1: first, 2: second} {
		if err := s.PutTrustVersion(t.Context(), "acme", version, raw); err != nil {
			t.Fatal(err)
		}
		if got, err := s.TrustVersion("acme", version); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("TrustVersion(%d) = %q, %v", version, got, err)
		}
	}
	if err := s.PutTrustVersion(t.Context(), "acme", 1, first); err != nil {
		t.Errorf("PutTrustVersion of the same = %v", err)
	}
	if err := s.PutTrustVersion(t.Context(), "acme", 1, second); !errors.Is(err, store.ErrConflict) {
		t.Errorf("PutTrustVersion of another = %v, want ErrConflict", err)
	}
	if _, err := s.TrustVersion("acme", 3); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("TrustVersion of none = %v, want ErrNotFound", err)
	}
	if _, err := s.TrustVersion("../acme", 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("TrustVersion of nobody = %v, want ErrNotFound", err)
	}
	big := make([]byte, store.MaxRecord+1)
	if err := s.PutTrust(t.Context(), "acme", big, digest.Sum(second)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("PutTrust of too much = %v, want ErrTooLarge", err)
	}
}

func derived(t *testing.T, s *store.Store) {
	source := digest.Sum([]byte("source"))
	for _, size := range []int{0, 1, bundle.MaxChunk, bundle.MaxChunk + 1, 5<<20 + 17} {
		data := Noise(uint64(size), size)
		for _, key := range []store.DerivedKey{
			{Source: source, Kind: "zstd"},
			{Source: source, Kind: "dcz", Base: digest.Sum([]byte("base"))},
		} {
			if size == 0 {
				if _, err := s.Derived(key); !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("Derived before = %v, want ErrNotFound", err)
				}
			}
			if _, err := s.PutDerived(t.Context(), key, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			o, err := s.Derived(key)
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, o, data)
		}
	}
	if _, err := s.PutDerived(t.Context(), store.DerivedKey{Kind: "a/b"}, strings.NewReader("x")); err == nil {
		t.Error("PutDerived takes any kind")
	}
}

func checkObject(t *testing.T, o *store.Object, data []byte) {
	t.Helper()
	if o.Size() != int64(len(data)) || o.Digest() != digest.Sum(data) {
		t.Fatalf("object of %d bytes is %s", o.Size(), o.Digest())
	}
	var b bytes.Buffer
	r := o.Reader()
	defer r.Close()
	if n, err := r.WriteTo(&b); err != nil || n != o.Size() || !bytes.Equal(b.Bytes(), data) {
		t.Fatalf("WriteTo gives other bytes: %v", err)
	}
	at := int64(len(data) / 3)
	if _, err := r.Seek(at, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[at:]) {
		t.Fatalf("Read after Seek gives other bytes: %v", err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(o, at, o.Size())); err != nil || !bytes.Equal(got, data[at:]) {
		t.Fatalf("ReadAt gives other bytes: %v", err)
	}
}
