package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// install puts the release below bundles/: from what is there already, by a patch, or in full.
func (t *transfer) install(ctx context.Context, release *channel.Release, result *Result) error {
	c := t.client
	target := &installed{Bundle: release.Bundle, SHA256: release.SHA256, Size: release.Size}
	if c.whole(ctx, target) {
		return nil // an earlier version that is still kept
	}
	if t.base.archive != nil && release.Size <= bundle.MaxPatch {
		if t.inline != nil {
			err := t.applyPatch(ctx, release, bytes.NewReader(t.inline), result)
			if err == nil || ctx.Err() != nil {
				return err
			}
			c.config.Logger.Warn("patch that came with the check failed", "release", release.Version, "error", err)
		}
		err := t.patch(ctx, release, result)
		if err == nil || ctx.Err() != nil {
			return err
		}
		c.config.Logger.Warn("patch failed, fetching the full archive", "release", release.Version, "error", err)
	}
	return t.full(ctx, release, result)
}

// base is what is installed, as read back from its files.
type base struct {
	sound   bool   // the files are what was installed
	archive []byte // that they make, if they are sound and a patch against it can be asked for
}

// readBase reads what is installed.
func (c *Client) readBase(ctx context.Context) base {
	current := c.state.Current
	if current == nil {
		return base{}
	}
	if current.Size > bundle.MaxPatch {
		return base{sound: c.whole(ctx, current)}
	}
	archive := bytes.NewBuffer(make([]byte, 0, current.Size))
	if err := c.writeArchive(ctx, current, archive); err != nil || digest.Sum(archive.Bytes()) != current.Bundle {
		c.config.Logger.Warn("what is installed is not what it was", "version", current.Version, "error", err)
		return base{}
	}
	return base{sound: true, archive: archive.Bytes()}
}

// whole reports whether the files of an installed bundle are all there, unchanged.
func (c *Client) whole(ctx context.Context, one *installed) bool {
	h := digest.NewHasher()
	return c.writeArchive(ctx, one, h) == nil && h.Digest() == one.Bundle
}

// writeArchive writes the archive that the files of an installed bundle make.
func (c *Client) writeArchive(ctx context.Context, one *installed, w io.Writer) error {
	root, err := c.root.OpenRoot(bundleDir(one.Bundle))
	if err != nil {
		return err
	}
	return errors.Join(bundle.Folder{FS: root.FS()}.WriteArchive(ctx, w), root.Close())
}

// patch asks for the archive with the installed one as a dictionary. The node is free to send the full archive: that is
// taken as it comes.
func (t *transfer) patch(ctx context.Context, release *channel.Release, result *Result) error {
	name := t.client.state.Current.SHA256
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.node+protocol.ArchivePath(release.Bundle), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "dcz, zstd")
	req.Header.Set("Available-Dictionary", name.Field())
	resp, err := t.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Encoding") != "dcz" {
		return t.receive(ctx, release, resp, result)
	}
	return t.applyPatch(ctx, release, t.progress(resp), result)
}

// applyPatch installs the release from a patch against what is installed.
func (t *transfer) applyPatch(ctx context.Context, release *channel.Release, patch io.Reader, result *Result) error {
	body, err := bundle.DecodePatch(patch, t.base.archive, t.client.state.Current.SHA256)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := t.client.unpack(ctx, release, body); err != nil {
		return err
	}
	result.Patched, result.Encoding = true, "dcz"
	return nil
}

// unpack reads the archive of release from r into a folder of its own, checks it, and gives the folder its name. Unless
// every byte is that of the signed release nothing remains, and the error is [ErrDamaged] or one of reading r.
func (c *Client) unpack(ctx context.Context, release *channel.Release, r io.Reader) error {
	fresh := bundleDir(release.Bundle) + ".new"
	if err := c.root.RemoveAll(fresh); err != nil {
		return err
	}
	if err := c.root.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	err := c.unpackInto(ctx, fresh, release, r)
	if err == nil {
		err = c.settle(fresh, bundleDir(release.Bundle))
	}
	if err != nil {
		return errors.Join(err, c.root.RemoveAll(fresh))
	}
	return nil
}

func (c *Client) unpackInto(ctx context.Context, dir string, release *channel.Release, r io.Reader) error {
	root, err := c.root.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	h := digest.NewHasher()
	source := &sourceReader{r: io.LimitReader(r, release.Size+1)}
	made := map[string]bool{".": true}
	buffer := make([]byte, 256<<10)
	err = bundle.ReadArchive(ctx, io.TeeReader(source, h), func(name string, _ int64, content io.Reader) error {
		if dir := path.Dir(name); !made[dir] {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			made[dir] = true
		}
		return writeFile(root, name, content, buffer)
	})
	switch {
	case source.err != nil: // the transfer broke: what was read is right as far as it goes
		return source.err
	case errors.Is(err, bundle.ErrMalformed) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return err
	case h.Digest() != release.Bundle:
		return fmt.Errorf("%w: %w", ErrDamaged, digest.ErrMismatch)
	}
	return nil
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

func writeFile(root *os.Root, name string, content io.Reader, buffer []byte) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{file}, content, buffer)
	return errors.Join(err, file.Close())
}

// onlyWriter hides ReadFrom, which would not use the buffer.
type onlyWriter struct{ io.Writer }

// settle makes a whole folder durable and gives it its name. Whatever had the name before is not what it should be.
func (c *Client) settle(fresh, name string) error {
	if err := c.syncTree(fresh); err != nil {
		return err
	}
	// A damaged folder steps aside before the whole one steps in, and sweep removes it. A kill in between, two system
	// calls apart, is mended by the next Update.
	if err := c.root.Rename(name, name+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.root.Rename(fresh, name); err != nil {
		return err
	}
	return c.syncDir(bundlesDir)
}
