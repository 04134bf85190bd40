package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/store"
)

// stock is a data folder that the bench fills itself, by the store's one door but without HTTP, before a node opens it:
// tens of thousands of channels come into being in seconds so.
type stock struct {
	store *store.Store
	key   channel.PrivateKey
	codec *bundle.Codec
	now   time.Time
}

// memory returns a new folder in memory where the system has one, and on disk otherwise. Filling a store costs a sync
// for each record; a node that decides does not touch the disk.
func (b *bench) memory() (string, error) {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return os.MkdirTemp(shm, "brink-bench-*")
	}
	return os.MkdirTemp(b.dir, "memory-*")
}

// openStock opens a data folder for what key may publish.
func openStock(dir string, key channel.PrivateKey) (*stock, error) {
	s, err := store.Open(store.Config{Dir: dir, Quota: 64 << 30, MinFree: 1 << 20})
	if err != nil {
		return nil, err
	}
	return &stock{store: s, key: key, codec: bundle.NewCodec(), now: time.Now().UTC().Truncate(time.Second)}, nil
}

func (k *stock) close() error { return k.store.Close() }

// bundle brings in a bundle of files, and returns it as a release of a version.
func (k *stock) bundle(ctx context.Context, version string, files fstest.MapFS) (release channel.Release, err error) {
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

// channel has a new channel serve releases, one after the other, and returns its manifest.
func (k *stock) channel(
	ctx context.Context, app, name string, releases ...channel.Release,
) (m *channel.Manifest, err error) {
	m = channel.NewManifest(benchOrg, app, name)
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

// smallFiles are the files of a small bundle; equal seeds give equal files.
func smallFiles(seed uint64) fstest.MapFS {
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
