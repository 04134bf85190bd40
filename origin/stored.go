package origin

import (
	"context"
	"errors"

	"brink/bundle"
	"brink/digest"
	"brink/store"
)

// Store is what a [Filler] fills. It is safe for concurrent use.
type Store interface {
	// Lost returns the index of a bundle that is here and the chunks of it that are not: none when it is complete. It
	// returns [ErrNotFound] when there is no such bundle, or its index is lost. It does not read the chunks.
	Lost(ctx context.Context, id digest.Digest) (*bundle.Index, []bundle.Chunk, error)
	// Ingest begins to bring in a bundle, and has room made for what is missing. An empty intent leaves the one that is
	// there. It may block while others are evicted. The result is to be closed.
	Ingest(ctx context.Context, index *bundle.Index, intent []byte) (Ingest, error)
}

// Ingest is a bundle on its way in, see [store.Ingest].
type Ingest interface {
	// Missing returns the chunks that are not here.
	Missing() []bundle.Chunk
	// Put verifies one chunk and brings it in. It returns [bundle.ErrMalformed], [digest.ErrMismatch] or
	// [store.ErrUnwanted] for what must not come in, and any other error when the store cannot take it. A chunk that is
	// here already is no error. It does not keep the frame.
	Put(frame bundle.Frame) error
	// Commit makes the bundle visible and durable. It returns [store.ErrMismatch] when the index was wrong, and
	// [store.ErrIncomplete] when chunks are missing (again).
	Commit(ctx context.Context) error
	// Close gives back what the ingest holds. What came in stays for the next one. It is idempotent.
	Close() error
}

// Into returns s as what a Filler fills.
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
