package delta

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"brink/bundle"
	"brink/digest"
)

// measureContents measures the ways that need no other program: zip, zstd, changed files and missing chunks.
func (d *comparison) measureContents(ctx context.Context) error {
	old, err := (bundle.Folder{FS: os.DirFS(d.oldFiles)}).Index(ctx)
	if err != nil {
		return err
	}
	next, err := (bundle.Folder{FS: os.DirFS(d.newFiles)}).Index(ctx)
	if err != nil {
		return err
	}
	if d.zip, err = zipSize(d.newFiles, next); err != nil {
		return err
	}
	if d.zstd, err = zstdSize(ctx, d.newFiles); err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, c := range bundle.Diff(old, next) {
		changed[c.Path] = c.Kind != "removed"
	}
	for _, f := range next.Files {
		if !changed[f.Path] {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.newFiles, filepath.FromSlash(f.Path)))
		if err != nil {
			return err
		}
		var small counter
		w := brotli.NewWriterLevel(&small, 9)
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		d.files += min(int64(small), f.Size)
	}
	had := map[digest.Digest]bool{}
	for c := range old.Chunks() {
		had[c.Digest] = true
	}
	var sent counter
	stream, codec := bundle.NewStreamWriter(&sent), bundle.NewCodec()
	chunks := bundle.NewFolderChunks(os.DirFS(d.newFiles), next)
	for c := range next.Chunks() {
		if had[c.Digest] {
			continue
		}
		plain, err := chunks.Chunk(ctx, c)
		if err != nil {
			return err
		}
		if err := stream.Write(codec.Frame(plain)); err != nil {
			return err
		}
	}
	if err := stream.Close(); err != nil {
		return err
	}
	d.chunks = int64(sent)
	return nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// zipSize returns the size of a zip of the files.
func zipSize(dir string, ix *bundle.Index) (int64, error) {
	var n counter
	w := zip.NewWriter(&n)
	for _, f := range ix.Files {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil {
			return 0, err
		}
		entry, err := w.Create(f.Path)
		if err != nil {
			return 0, err
		}
		if _, err := entry.Write(data); err != nil {
			return 0, err
		}
	}
	err := w.Close()
	return int64(n), err
}

// zstdSize returns the size of the archive of a folder as a node sends it: zstd at the highest level of klauspost's
// encoder, with the window that every client must accept.
func zstdSize(ctx context.Context, dir string) (int64, error) {
	var n counter
	w, err := zstd.NewWriter(
		&n,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(8<<20),
		zstd.WithEncoderConcurrency(1),
	)
	if err != nil {
		return 0, err
	}
	err = (bundle.Folder{FS: os.DirFS(dir)}).WriteArchive(ctx, w)
	return int64(n), errors.Join(err, w.Close())
}
