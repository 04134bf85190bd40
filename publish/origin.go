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

// Origin stores releases for nodes, such as a bucket. It can be published to without a running node. All methods may
// block and are idempotent.
type Origin interface {
	// Trust returns the newest trust document of the org, or nil if there is none. The caller owns the bytes.
	Trust(ctx context.Context, org string) ([]byte, error)
	// TrustVersion returns one version of the trust document, or nil if there is none. The caller owns the bytes.
	TrustVersion(ctx context.Context, org string, version uint64) ([]byte, error)
	// PutTrust stores a trust document, unless the origin has it or a later one. On return it is durable.
	PutTrust(ctx context.Context, raw []byte) error
	// Channels returns the channels to which something was published, of all apps and orgs, sorted by app and channel.
	Channels(ctx context.Context) ([]Place, error)
	// Manifest returns the signed manifest of a channel, or nil if nothing was published to it. The caller owns the bytes.
	Manifest(ctx context.Context, app, channel string) ([]byte, error)
	// Upload uploads the missing chunks of a bundle. It calls frame for each of them sequentially, and uses the returned
	// bytes only until the next call. With dryRun it changes nothing. On return the bundle is durable.
	Upload(ctx context.Context, ix *bundle.Index, intent []byte, dryRun bool, frame Frame) (Uploaded, error)
	// Move puts a manifest, which was parsed from signed bytes, in force. It returns [ErrConflict] if another one has the
	// same or a higher sequence. On return it is durable.
	Move(ctx context.Context, m *channel.Manifest) error
}

// Frame returns a chunk of the published bundle as a frame.
type Frame func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error)

// Uploaded is what an upload to an [Origin] wrote.
type Uploaded struct {
	Chunks int   // that were missing
	Bytes  int64 // in total
}

// uploadTo uploads the bundle to the origin.
func (s *session) uploadTo(ctx context.Context, r Request, ix *bundle.Index, intent []byte, files fs.FS) error {
	codec, chunks := bundle.NewCodec(), bundle.NewFolderChunks(files, ix)
	var total, done int64
	for c := range ix.Chunks() {
		total += c.Size // an origin does not report in advance which chunks are missing
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

// moveOrigin puts a signed manifest in force at the origin.
func (s *session) moveOrigin(ctx context.Context, raw []byte) error {
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
var errTwoPlaces = errors.New("a node and an origin are configured: a release is published to one of them")
