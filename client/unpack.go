package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// unpack reads the archive of release from r into a folder of its own, checks it, and gives the folder its name. Unless
// every byte is that of the signed release nothing remains, and the error is [ErrDamaged] or one of reading r.
func (c *Client) unpack(ctx context.Context, release *channel.Release, r io.Reader) error {
	return c.unpackBy(release, func(into *folder) error { return into.unpack(ctx, release, r) })
}

// unpackBytes is unpack for an archive that is in memory.
func (c *Client) unpackBytes(ctx context.Context, release *channel.Release, archive []byte) error {
	return c.unpackBy(release, func(into *folder) error { return into.unpackBytes(ctx, release, archive) })
}

// unpack reads the archive of release from r into the folder. Files are made before the digest is known, for while the
// rest is on its way that takes no time. Their number, that of their folders and their bytes are at most what the
// signed release accounts for.
func (f *folder) unpack(ctx context.Context, release *channel.Release, r io.Reader) error {
	h := digest.NewHasher()
	source := &sourceReader{r: io.LimitReader(r, release.Size+1)}
	plain := io.TeeReader(source, h)
	err := bundle.ReadArchiveOf(ctx, plain, release.Files, func(name string, _ int64, content io.Reader) error {
		return f.copy(name, content)
	})
	if source.err != nil {
		return source.err // the transfer broke: what was read is right as far as it goes
	}
	return verdict(err, h.Digest(), release)
}

// unpackBytes is unpack for an archive that is in memory. Its files are written side by side, while the archive is
// checked.
func (f *folder) unpackBytes(ctx context.Context, release *channel.Release, archive []byte) error {
	sum := make(chan digest.Digest, 1)
	go func() { sum <- digest.Sum(archive) }()
	r := bytes.NewReader(archive)
	err := bundle.ReadArchiveOf(ctx, r, release.Files, func(name string, size int64, _ io.Reader) error {
		at := int64(len(archive) - r.Len())
		if size > int64(r.Len()) {
			return io.ErrUnexpectedEOF
		}
		return f.put(name, archive[at:at+size])
	})
	return verdict(err, <-sum, release)
}

// verdict says whether an archive that was read with err is that of release.
func verdict(err error, sum digest.Digest, release *channel.Release) error {
	switch {
	case errors.Is(err, bundle.ErrMalformed) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return err
	case sum != release.Bundle:
		return fmt.Errorf("%w: %w", ErrDamaged, digest.ErrMismatch)
	}
	return nil
}

// unpackBy lets write fill a folder and check what it writes, makes that durable and gives the folder its name, which
// switchTo makes durable. When something fails nothing remains.
func (c *Client) unpackBy(release *channel.Release, write func(*folder) error) error {
	name := bundleDir(release.Bundle)
	fresh := name + ".new"
	if err := c.root.RemoveAll(fresh); err != nil {
		return err
	}
	if err := c.root.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	err := c.fill(fresh, write)
	if err == nil {
		err = c.settle(fresh, name)
	}
	if err != nil {
		return errors.Join(err, c.root.RemoveAll(fresh))
	}
	return nil
}

func (c *Client) fill(fresh string, write func(*folder) error) error {
	root, err := c.root.OpenRoot(fresh)
	if err != nil {
		return err
	}
	into := newFolder(root)
	err = write(into)
	if err == nil {
		err = into.sync()
	}
	return errors.Join(err, into.close(), root.Close())
}

// settle gives a whole folder its name. Whatever had the name before is not what it should be.
func (c *Client) settle(fresh, name string) error {
	// A damaged folder steps aside before the whole one steps in, and sweep removes it. A kill in between, two system
	// calls apart, is mended by the next Update.
	if err := c.root.Rename(name, name+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.root.Rename(fresh, name)
}

// sourceReader remembers an error of the transfer, to tell it from one of the archive.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
