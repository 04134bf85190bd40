package store_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"pgregory.net/rapid"

	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

// model is what a store should hold.
type model struct {
	dir     string
	bundles []*storetest.Bundle

	store     *store.Store
	published map[int]bool
	uploaded  map[digest.Digest]bool // chunks that are there and that no bundle refers to, or some does
	manifests map[string][]byte
	sequence  uint64
	derived   map[string][]byte
	states    map[string][]byte
}

func (m *model) open(t *rapid.T) {
	s, err := store.Open(store.Config{Dir: m.dir, MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m.store = s
}

func (m *model) close(t *rapid.T) {
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
}

func (m *model) missing(i int) (n int) {
	for d := range m.bundles[i].Frames {
		if !m.uploaded[d] {
			n++
		}
	}
	return n
}

func (m *model) upload(t *rapid.T) {
	i := rapid.IntRange(0, len(m.bundles)-1).Draw(t, "bundle")
	b := m.bundles[i]
	in, err := m.store.Ingest(context.Background(), store.IngestRequest{Index: b.Index})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	missing := in.Missing()
	if len(missing) != m.missing(i) {
		t.Fatalf("bundle %d lacks %d chunks, want %d", i, len(missing), m.missing(i))
	}
	send := rapid.IntRange(0, len(missing)).Draw(t, "chunks")
	for _, c := range missing[:send] {
		if err := in.Put(b.Frames[c.Digest]); err != nil {
			t.Fatal(err)
		}
		m.uploaded[c.Digest] = true
	}
	switch err := in.Commit(context.Background()); {
	case send < len(missing) && !errors.Is(err, store.ErrIncomplete):
		t.Fatalf("Commit = %v, want ErrIncomplete", err)
	case send == len(missing) && err != nil:
		t.Fatal(err)
	case send == len(missing):
		m.published[i] = true
	}
}

func (m *model) manifest(t *rapid.T) {
	i := rapid.IntRange(0, len(m.bundles)-1).Draw(t, "bundle")
	channel := rapid.SampledFrom([]string{"beta", "production"}).Draw(t, "channel")
	expect := digest.Digest{}
	if raw := m.manifests[channel]; raw != nil {
		expect = digest.Sum(raw)
	}
	right := rapid.Bool().Draw(t, "right")
	if !right {
		expect = digest.Sum([]byte("another"))
	}
	m.sequence++
	raw, parsed := storetest.Manifest(silent{}, crashApp, channel, m.sequence, m.bundles[i])
	err := m.store.PutManifest(context.Background(), raw, parsed, expect)
	switch {
	case !m.published[i]:
		if !errors.Is(err, store.ErrMissingBundle) {
			t.Fatalf("PutManifest = %v, want ErrMissingBundle", err)
		}
	case !right:
		if !errors.Is(err, store.ErrConflict) {
			t.Fatalf("PutManifest = %v, want ErrConflict", err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		m.manifests[channel] = raw
	}
}

func (m *model) derive(t *rapid.T) {
	kind := rapid.SampledFrom([]string{"zstd", "br"}).Draw(t, "kind")
	data := storetest.Noise(rapid.Uint64Range(0, 3).Draw(t, "seed"), rapid.IntRange(0, 600<<10).Draw(t, "size"))
	key := store.DerivedKey{Kind: kind}
	if _, err := m.store.PutDerived(context.Background(), key, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	m.derived[kind] = data
}

// state puts any states at once, and removes some.
func (m *model) state(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a/1", "a/2", "b/1", "b/1/2"})
	value := rapid.SliceOfN(rapid.Byte(), 0, 3)
	states := rapid.MapOfN(key, rapid.Ptr(value, true), 0, 3).Draw(t, "states")
	put := map[string][]byte{}
	for key, value := range states {
		if value == nil {
			put[key] = nil
			delete(m.states, key)
			continue
		}
		put[key] = *value
		m.states[key] = *value
	}
	if err := m.store.PutState(context.Background(), put); err != nil {
		t.Fatal(err)
	}
}

func (m *model) collect(t *rapid.T) {
	if _, err := m.store.GC(context.Background()); err != nil {
		t.Fatal(err)
	}
	for d := range m.uploaded {
		needed := false
		for i := range m.published {
			_, has := m.bundles[i].Frames[d]
			needed = needed || has
		}
		if !needed {
			delete(m.uploaded, d)
		}
	}
}

func (m *model) check(t *rapid.T) {
	for i, b := range m.bundles {
		_, err := m.store.Bundle(b.ID())
		switch {
		case m.published[i]:
			storetest.CheckBundle(silent{}, m.store, b)
		case !errors.Is(err, store.ErrNotFound):
			t.Fatalf("Bundle of what was not published = %v", err)
		}
		for d := range b.Frames {
			if has, err := m.store.Has(d); err != nil || has != m.uploaded[d] {
				t.Fatalf("Has(%s) = %v, %v, want %v", d.Short(), has, err, m.uploaded[d])
			}
		}
	}
	for _, channel := range []string{"beta", "production"} {
		raw, err := m.store.Manifest(crashApp, channel)
		if want := m.manifests[channel]; !bytes.Equal(raw, want) || (err == nil) != (want != nil) {
			t.Fatalf("Manifest of %s: %v, want %d bytes", channel, err, len(want))
		}
	}
	for _, kind := range []string{"zstd", "br"} {
		var data []byte
		o, err := m.store.Derived(store.DerivedKey{Kind: kind})
		if err == nil {
			data, err = io.ReadAll(o.Reader())
		}
		if want, there := m.derived[kind]; !bytes.Equal(data, want) || (err == nil) != there {
			t.Fatalf("Derived %s: %v, want %d bytes", kind, err, len(want))
		}
	}
	storetest.CheckStates(silent{}, m.store, "", m.states)
	if stats, err := m.store.Stats(); err != nil || stats.Reserved != 0 || stats.Damaged != 0 {
		t.Fatalf("Stats = %+v, %v", stats, err)
	}
}

// Any sequence of operations leaves in the store what it leaves in a few maps.
func TestStore_Model(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if before == checks.DefValue { // each opens databases
		if err := checks.Value.Set("4"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(before) }()
	}
	var bundles []*storetest.Bundle
	for i := range 4 {
		bundles = append(bundles, storetest.New(t, map[string][]byte{
			"own":                   storetest.Noise(uint64(i), 100<<10),
			"shared":                storetest.Noise(uint64(100+i/2), 80<<10),
			fmt.Sprintf("own%d", i): []byte("x"),
		}))
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{
			dir: dir, bundles: bundles, published: make(map[int]bool), uploaded: make(map[digest.Digest]bool),
			manifests: make(map[string][]byte), derived: make(map[string][]byte),
			states: make(map[string][]byte),
		}
		m.open(t)
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"upload":   m.upload,
			"manifest": m.manifest,
			"derive":   m.derive,
			"state":    m.state,
			"collect":  m.collect,
			"reopen": func(t *rapid.T) {
				m.close(t)
				m.open(t)
			},
			"": m.check,
		})
	})
}
