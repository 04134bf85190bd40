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

// unpack unpacks the archive of release from r to a new folder, verifies it, and gives the folder its final name. If a
// byte differs from the signed release, the folder is removed, and the error is [ErrDamaged] or one of reading r.
func (c *Client) unpack(ctx context.Context, release *channel.Release, r io.Reader) error {
	return c.unpackBy(release, func(into *folder) error { return into.unpack(ctx, release, r) })
}

// unpackBytes is unpack for an archive that is in memory.
func (c *Client) unpackBytes(ctx context.Context, release *channel.Release, archive []byte) error {
	return c.unpackBy(release, func(into *folder) error { return into.unpackBytes(ctx, release, archive) })
}

// unpack unpacks the archive of release from r to the folder. It writes files before the digest is verified, to use the
// time while the rest is received. The number of files and folders and their bytes do not exceed what the signed
// release allows.
func (f *folder) unpack(ctx context.Context, release *channel.Release, r io.Reader) error {
	h := digest.NewHasher()
	source := &sourceReader{r: io.LimitReader(r, release.Size+1)}
	plain := io.TeeReader(source, h)
	err := bundle.ReadArchiveOf(ctx, plain, release.Files, func(name string, _ int64, content io.Reader) error {
		return f.copy(name, content)
	})
	if source.err != nil {
		return source.err // the transfer failed; the archive may be undamaged so far
	}
	return verdict(err, h.Digest(), release)
}

// unpackBytes is unpack for an archive that is in memory. It writes files in parallel, while the digest is computed.
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

// verdict returns the error for an archive that was read with err and has the digest sum.
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

// unpackBy calls write with a new folder, syncs what it writes, and gives the folder its final name, which switchTo
// makes durable. If anything fails, the folder is removed.
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
		err = c.moveInto(fresh, name)
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

// moveInto gives a complete folder its final name. An existing folder with that name is damaged.
func (c *Client) moveInto(fresh, name string) error {
	// The damaged folder is renamed first, and sweep removes it. If the process is killed between the two calls, the next
	// Update repairs it.
	if err := c.root.Rename(name, name+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.root.Rename(fresh, name)
}

// sourceReader records an error of the transfer, to distinguish it from one of the archive.
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
