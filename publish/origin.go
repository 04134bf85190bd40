package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// Origin is a place that keeps releases for nodes, such as a bucket: what can be published to while no node runs. All
// methods may block, and doing one again with the same is no error.
type Origin interface {
	// Trust returns the newest trust document of the org there, and nil if there is none. The caller owns the bytes.
	Trust(ctx context.Context, org string) ([]byte, error)
	// TrustVersion returns one version of the trust document, and nil if that is not there. The caller owns the bytes.
	TrustVersion(ctx context.Context, org string, version uint64) ([]byte, error)
	// PutTrust puts a trust document there, unless it or a later one is. On return it is durable.
	PutTrust(ctx context.Context, raw []byte) error
	// Channels returns the channels to which something was published, of all apps and orgs, by app and channel.
	Channels(ctx context.Context) ([]Place, error)
	// Manifest returns the signed manifest of a channel, and nil when nothing was published to it. The caller owns the
	// bytes.
	Manifest(ctx context.Context, app, channel string) ([]byte, error)
	// Upload makes a bundle complete. It calls Frame for each chunk that is lacking, one after the other, and uses its
	// bytes until it calls it again. With dryRun it changes nothing. On return the bundle is durable.
	Upload(ctx context.Context, ix *bundle.Index, intent []byte, dryRun bool, frame Frame) (Uploaded, error)
	// Move puts a manifest that was read from signed bytes in force, [ErrConflict] if another has its sequence or a
	// higher one. On return it is durable.
	Move(ctx context.Context, m *channel.Manifest) error
}

// Frame returns a chunk of what is published as a frame.
type Frame func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error)

// Uploaded says what an upload to an [Origin] wrote.
type Uploaded struct {
	Chunks int   // that were lacking
	Bytes  int64 // of all that was written
}

// uploadTo makes the bundle complete at the origin.
func (s *session) uploadTo(ctx context.Context, r Request, ix *bundle.Index, intent []byte, files fs.FS) error {
	codec, chunks := bundle.NewCodec(), bundle.NewFolderChunks(files, ix)
	var total, done int64
	for c := range ix.Chunks() {
		total += c.Size // an origin does not say beforehand what it lacks
	}
	up, err := s.config.Origin.Upload(ctx, ix, intent, r.DryRun,
		func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error) {
			plain, err := chunks.Chunk(ctx, c)
			if err != nil {
				return bundle.Frame{}, err
			}
			done += c.Size
			s.config.Progress(Event{Stage: Sending, Done: done, Total: total})
			frame := codec.Frame(plain)
			if frame.Digest != c.Digest {
				return bundle.Frame{}, fmt.Errorf("chunk %s: %w: its file has changed", c.Digest.Short(), digest.ErrMismatch)
			}
			return frame, nil
		})
	s.result.ChunksSent += up.Chunks
	s.result.BytesSent += up.Bytes
	return err
}

// moveAt puts a signed manifest in force at the origin.
func (s *session) moveAt(ctx context.Context, raw []byte) error {
	m, err := channel.ParseManifest(raw)
	if err != nil {
		return err
	}
	if err := s.putTrust(ctx); err != nil {
		return err
	}
	s.result.BytesSent += int64(len(raw))
	return s.config.Origin.Move(ctx, m)
}

// errTwoPlaces is returned by Validate.
var errTwoPlaces = errors.New("a node and an origin are given: a release is published to one of them")
