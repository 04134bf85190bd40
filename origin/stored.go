package origin

import (
	"context"
	"errors"

	"brink/bundle"
	"brink/digest"
	"brink/store"
)

// Store is where a [Filler] stores bundles. It is safe for concurrent use.
type Store interface {
	// Lost returns the index of a stored bundle and the chunks of it that are not in the store: none if it is complete. It
	// returns [ErrNotFound] if there is no such bundle, or its index is lost. It does not read the chunks.
	Lost(ctx context.Context, id digest.Digest) (*bundle.Index, []bundle.Chunk, error)
	// Ingest starts to store a bundle, and reserves room for what is missing. An empty intent does not replace a stored
	// one. It may block while other bundles are evicted. The caller must close the result.
	Ingest(ctx context.Context, index *bundle.Index, intent []byte) (Ingest, error)
}

// Ingest is a bundle that is being stored, see [store.Ingest].
type Ingest interface {
	// Missing returns the chunks that are not in the store.
	Missing() []bundle.Chunk
	// Put verifies and stores one chunk. It returns [bundle.ErrMalformed], [digest.ErrMismatch] or [store.ErrUnwanted] for
	// a frame that it refuses, and any other error if the store fails. It returns nil for a chunk that is stored already.
	// It does not keep the frame.
	Put(frame bundle.Frame) error
	// Commit makes the bundle visible and durable. It returns [store.ErrMismatch] if the index was wrong, and
	// [store.ErrIncomplete] if chunks are missing or were found to be damaged.
	Commit(ctx context.Context) error
	// Close releases the resources of the ingest. Stored chunks remain for the next one. It is idempotent.
	Close() error
}

// Into returns s as a [Store].
func Into(s *store.Store) Store { return stored{s} }

type stored struct{ store *store.Store }

func (s stored) Lost(ctx context.Context, id digest.Digest) (*bundle.Index, []bundle.Chunk, error) {
	b, err := s.store.Bundle(id)
	if err == nil {
		var lost []bundle.Chunk
		if lost, err = s.store.Lost(ctx, id); err == nil {
			return b.Index, lost, nil
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		err = errors.Join(ErrNotFound, err)
	}
	return nil, nil, err
}

func (s stored) Ingest(ctx context.Context, index *bundle.Index, intent []byte) (Ingest, error) {
	return s.store.Ingest(ctx, store.IngestRequest{Index: index, Intent: intent})
}
