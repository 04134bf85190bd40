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

// install puts the release below bundles/: from what is there already, by a patch, or in full.
func (t *transfer) install(ctx context.Context, release *channel.Release, result *Result) error {
	c := t.client
	target := &installed{Bundle: release.Bundle, SHA256: release.SHA256, Size: release.Size}
	if c.whole(ctx, target) {
		return nil // an earlier version that is still kept
	}
	if have := t.kept(release); have != nil && have.size > 0 {
		// Most of it may be there already.
		if have.info.Dictionary.IsZero() {
			return t.full(ctx, release, result)
		}
		err := t.fullOnce(ctx, release, result)
		if err == nil || ctx.Err() != nil || t.leave(err) {
			return err
		}
		return t.insteadOfPatch(ctx, release, result, err)
	}
	if t.base.archive != nil && release.Size <= bundle.MaxPatch {
		if t.inline != nil {
			err := t.applyInline(ctx, release, result)
			if err == nil || ctx.Err() != nil {
				return err
			}
			c.config.Logger.Warn("patch that came with the check failed", "release", release.Version, "error", err)
		}
		err := t.patch(ctx, release, result)
		if err == nil || ctx.Err() != nil || t.leave(err) {
			return err
		}
		return t.insteadOfPatch(ctx, release, result, err)
	}
	return t.full(ctx, release, result)
}

// insteadOfPatch fetches the full archive after a patch has failed with err. Nothing of the patch is gone on with.
func (t *transfer) insteadOfPatch(ctx context.Context, release *channel.Release, result *Result, err error) error {
	t.client.config.Logger.Warn("patch failed, fetching the full archive", "release", release.Version, "error", err)
	if have := t.kept(release); have != nil && !have.info.Dictionary.IsZero() {
		if err := t.client.forget(); err != nil {
			return err
		}
	}
	result.Resumed = false
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
	resp, err := t.archive(req, release, result)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// What has come is decoded and written while the rest is on its way: a patch of some size takes several round trips.
	return t.receive(ctx, release, req, resp, result)
}

// applyInline installs the release from the patch that came with the answer to the check. All of it is there, so it is
// decoded at once.
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
