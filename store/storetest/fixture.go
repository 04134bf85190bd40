// Package storetest provides test data for stores, and a test suite that every kind of store must pass.
package storetest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/store"
)

// Bundle is a bundle that is not in a store yet: its index, and a frame for each chunk.
type Bundle struct {
	Index  *bundle.Index
	Frames map[digest.Digest]bundle.Frame
}

// ID returns the identity of the bundle.
func (b *Bundle) ID() digest.Digest { return b.Index.Bundle() }

// New bundles files.
func New(t testing.TB, files map[string][]byte) *Bundle {
	t.Helper()
	folder := fstest.MapFS{}
	for name, data := range files {
		folder[name] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
	return From(t, folder)
}

// From bundles the files of a folder.
func From(t testing.TB, folder fs.FS) *Bundle {
	t.Helper()
	ix, err := bundle.Folder{FS: folder}.Index(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Index: ix, Frames: make(map[digest.Digest]bundle.Frame)}
	chunks := bundle.NewFolderChunks(folder, ix)
	codec := bundle.NewCodec()
	for c := range ix.Chunks() {
		plain, err := chunks.Chunk(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		b.Frames[c.Digest] = codec.Frame(append([]byte(nil), plain...))
	}
	return b
}

// Random bundles files with size incompressible bytes in total, and one small text. It is deterministic for each seed.
func Random(t testing.TB, seed uint64, size int) *Bundle {
	t.Helper()
	files := map[string][]byte{"index.html": fmt.Appendf(nil, "<title>%d</title>", seed)}
	for i := 0; size > 0; i++ {
		n := min(size, 1<<20)
		files[fmt.Sprintf("assets/%04d.bin", i)] = Noise(seed<<16+uint64(i), n)
		size -= n
	}
	return New(t, files)
}

// Noise returns n incompressible bytes. It is deterministic for each seed.
func Noise(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // it never fails
	return data
}

// Publish puts the missing chunks of a bundle and commits it.
func Publish(ctx context.Context, s *store.Store, b *Bundle, intent []byte) error {
	in, err := s.Ingest(ctx, store.IngestRequest{Index: b.Index, Intent: intent})
	if err != nil {
		return err
	}
	defer in.Close()
	for _, c := range in.Missing() {
		if err := in.Put(b.Frames[c.Digest]); err != nil {
			return err
		}
	}
	if err := in.Commit(ctx); err != nil {
		return err
	}
	return in.Close()
}

// MustPublish is Publish for tests that are about something else.
func MustPublish(t testing.TB, s *store.Store, b *Bundle) {
	t.Helper()
	if err := Publish(t.Context(), s, b, nil); err != nil {
		t.Fatal(err)
	}
}

// Key returns the key that signs manifests. It is always the same.
func Key(t testing.TB) channel.PrivateKey {
	t.Helper()
	key, err := channel.NewKey(rand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Manifest returns a signed manifest of a channel that serves the first bundle and has the others in its history.
func Manifest(t testing.TB, app, name string, sequence uint64, bundles ...*Bundle) ([]byte, *channel.Manifest) {
	t.Helper()
	m := channel.NewManifest("acme", app, name)
	m.Sequence = sequence
	m.Issued = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i, b := range bundles {
		release := Release(b, fmt.Sprintf("1.%d.0", 1000-i))
		if i == 0 {
			m.Release = release
		} else {
			m.History = append(m.History, release)
		}
	}
	return Sign(t, m)
}

// Sign signs a manifest, and returns the signed bytes and the manifest parsed from them.
func Sign(t testing.TB, m *channel.Manifest) ([]byte, *channel.Manifest) {
	t.Helper()
	raw, err := channel.SignManifest(m, Key(t))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := channel.ParseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return raw, parsed
}

// Attached returns a release of a bundle with other bundles as attachments, by kind.
func Attached(b *Bundle, version string, attachments map[string]*Bundle) channel.Release {
	r := Release(b, version)
	for _, kind := range slices.Sorted(maps.Keys(attachments)) {
		other := attachments[kind]
		r.Attachments = append(r.Attachments, channel.Attachment{
			Kind: kind, Bundle: other.ID(), Size: other.Index.Archive.Size,
		})
	}
	return r
}

// Release returns a release of a bundle.
func Release(b *Bundle, version string) channel.Release {
	raw := b.Index.Encode()
	return channel.Release{
		Version: version,
		Bundle:  b.ID(), SHA256: b.Index.Archive.SHA256, Size: b.Index.Archive.Size,
		Index: digest.Sum(raw), IndexSize: int64(len(raw)), Files: len(b.Index.Files),
		Created: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}
}
