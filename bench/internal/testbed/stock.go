package testbed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/store"
)

// Stock fills the store of a node that is not started yet, without HTTP, so that tens of thousands of channels take
// seconds.
type Stock struct {
	store *store.Store
	key   channel.PrivateKey
	codec *bundle.Codec
	now   time.Time
}

// OpenStock opens the store in a data folder; key signs what is published.
func OpenStock(dir string, key channel.PrivateKey) (*Stock, error) {
	s, err := store.Open(store.Config{Dir: dir, Quota: 64 << 30, MinFree: 1 << 20})
	if err != nil {
		return nil, err
	}
	return &Stock{store: s, key: key, codec: bundle.NewCodec(), now: time.Now().UTC().Truncate(time.Second)}, nil
}

// Close closes the store, so that a node can open it.
func (k *Stock) Close() error { return k.store.Close() }

// AddBundle adds a bundle of files and returns it as a release of a version.
func (k *Stock) AddBundle(
	ctx context.Context, version string, files fstest.MapFS,
) (release channel.Release, err error) {
	ix, err := bundle.Folder{FS: files}.Index(ctx)
	if err != nil {
		return release, err
	}
	in, err := k.store.Ingest(ctx, store.IngestRequest{Index: ix})
	if err != nil {
		return release, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	chunks := bundle.NewFolderChunks(files, ix)
	for _, c := range in.Missing() {
		plain, err := chunks.Chunk(ctx, c)
		if err != nil {
			return release, err
		}
		if err := in.Put(k.codec.Frame(plain)); err != nil {
			return release, err
		}
	}
	raw := ix.Encode()
	return channel.Release{
		Version: version, Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size, Files: len(ix.Files),
		Index: digest.Sum(raw), IndexSize: int64(len(raw)), Created: k.now,
	}, in.Commit(ctx)
}

// AddChannel adds a channel to which releases were published one after the other, and returns its manifest.
func (k *Stock) AddChannel(
	ctx context.Context, app, name string, releases ...channel.Release,
) (m *channel.Manifest, err error) {
	m = channel.NewManifest(org, app, name)
	for _, r := range releases {
		if m, err = m.Publish(r, k.now); err != nil {
			return nil, err
		}
	}
	raw, err := channel.SignManifest(m, k.key)
	if err != nil {
		return nil, err
	}
	if m, err = channel.ParseManifest(raw); err != nil {
		return nil, err
	}
	return m, k.store.PutManifest(ctx, raw, m, digest.Digest{})
}

// SmallFiles returns the files of a small bundle; equal seeds give equal files.
func SmallFiles(seed uint64) fstest.MapFS {
	noise := make([]byte, 1<<10)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(key).Read(noise) // it never fails
	return fstest.MapFS{
		"index.html":     {Data: fmt.Appendf(nil, "<!doctype html><title>%d</title><script src=app.js></script>", seed)},
		"app.js":         {Data: fmt.Appendf(nil, "export const build = %d;\n", seed)},
		"assets/img.bin": {Data: noise},
	}
}
