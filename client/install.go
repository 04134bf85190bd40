package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// install installs the release below bundles/: it is there already, or comes from a patch or the full archive.
func (t *transfer) install(ctx context.Context, release *channel.Release, result *Result) error {
	c := t.client
	target := &installed{Bundle: release.Bundle, SHA256: release.SHA256, Size: release.Size}
	if c.isIntact(ctx, target) {
		return nil // it is the previous version
	}
	if have := t.resumable(release); have != nil && have.size > 0 {
		// Resume first: most of it may be there already.
		if have.info.Dictionary.IsZero() {
			return t.fetchFull(ctx, release, result)
		}
		err := t.tryFull(ctx, release, result)
		if err == nil || ctx.Err() != nil || t.tryNext(err) {
			return err
		}
		return t.fetchFullAfter(ctx, release, result, err)
	}
	if t.base.archive != nil && release.Size <= bundle.MaxPatch {
		if t.inline != nil {
			err := t.applyInline(ctx, release, result)
			if err == nil || ctx.Err() != nil {
				return err
			}
			c.config.Logger.Warn("inline patch failed, fetching a patch", "release", release.Version, "error", err)
		}
		err := t.fetchPatch(ctx, release, result)
		if err == nil || ctx.Err() != nil || t.tryNext(err) {
			return err
		}
		return t.fetchFullAfter(ctx, release, result, err)
	}
	return t.fetchFull(ctx, release, result)
}

// fetchFullAfter fetches the full archive after a patch failed with err. The download of the patch is removed.
func (t *transfer) fetchFullAfter(ctx context.Context, release *channel.Release, result *Result, err error) error {
	t.client.config.Logger.Warn("patch failed, fetching the full archive", "release", release.Version, "error", err)
	if have := t.resumable(release); have != nil && !have.info.Dictionary.IsZero() {
		if err := t.client.removePartial(); err != nil {
			return err
		}
	}
	result.Resumed = false
	return t.fetchFull(ctx, release, result)
}

// base is the installed bundle as read back from its files, the base for patches.
type base struct {
	intact  bool   // the files are unchanged since they were installed
	archive []byte // of the files, if they are intact and it is not too large for a patch
}

// readBase reads the installed bundle.
func (c *Client) readBase(ctx context.Context) base {
	current := c.state.Current
	if current == nil {
		return base{}
	}
	if current.Size > bundle.MaxPatch {
		return base{intact: c.isIntact(ctx, current)}
	}
	archive := bytes.NewBuffer(make([]byte, 0, current.Size))
	if err := c.writeArchive(ctx, current, archive); err != nil || digest.Sum(archive.Bytes()) != current.Bundle {
		c.config.Logger.Warn("installed files are damaged", "version", current.Version, "error", err)
		return base{}
	}
	return base{intact: true, archive: archive.Bytes()}
}

// isIntact reports whether the files of an installed bundle are complete and unchanged.
func (c *Client) isIntact(ctx context.Context, one *installed) bool {
	h := digest.NewHasher()
	return c.writeArchive(ctx, one, h) == nil && h.Digest() == one.Bundle
}

// writeArchive writes the archive of the files of an installed bundle.
func (c *Client) writeArchive(ctx context.Context, one *installed, w io.Writer) error {
	root, err := c.root.OpenRoot(bundleDir(one.Bundle))
	if err != nil {
		return err
	}
	return errors.Join(bundle.Folder{FS: root.FS()}.WriteArchive(ctx, w), root.Close())
}

// fetchPatch requests the archive with the installed one as a dictionary. The node may also send the full archive.
func (t *transfer) fetchPatch(ctx context.Context, release *channel.Release, result *Result) error {
	name := t.client.state.Current.SHA256
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.node+protocol.ArchivePath(release.Bundle), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "dcz, zstd")
	req.Header.Set("Available-Dictionary", name.Field())
	resp, err := t.requestArchive(req, release, result)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The response is decoded and written while it is received: a large patch takes several round trips.
	return t.receive(ctx, release, req, resp, result)
}

// applyInline installs the release from the patch in the answer to the check. The patch is in memory and is decoded at
// once.
func (t *transfer) applyInline(ctx context.Context, release *channel.Release, result *Result) error {
	archive, err := bundle.ApplyPatch(t.inline, t.base.archive, t.client.state.Current.SHA256, release.Size)
	if err != nil {
		return err
	}
	if err := t.client.unpackBytes(ctx, release, archive); err != nil {
		return err
	}
	result.Patched, result.Encoding = true, "dcz"
	return nil
}
