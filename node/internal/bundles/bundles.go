// Package bundles reads the bundles of a node, and fetches missing ones.
//
// The life of one read: [Source.Bundle] finds the bundle with its index in the store. If it is missing, and a channel
// names it, it is fetched from other nodes or the origin while the caller waits, for a bounded time. [Chunks] reads its
// chunks from the store, one after the other; a lost or damaged chunk is fetched again.
//
// The invariant: only bundles that a channel in force names are fetched, or that another node of the fleet requests.
package bundles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// fillWait bounds how long a request waits for a bundle or a chunk to be fetched. Devices retry.
const fillWait = 20 * time.Second

// Config is what a [Source] works with. All fields are required.
type Config struct {
	Context context.Context // of all fetches
	Store   *store.Store
	Filler  *origin.Filler
	IsNamed func(digest.Digest) bool // whether a channel in force names the bundle
	Alone   bool                     // there is nothing to fetch from
	Logger  *slog.Logger
}

// Source reads bundles from the store, and fetches missing ones.
type Source struct {
	Config

	healed atomic.Int64
}

// New returns a source.
func New(config Config) *Source { return &Source{Config: config} }

// Healed returns how many lost chunks were fetched again while a request waited.
func (s *Source) Healed() int64 { return s.healed.Load() }

// Bundle returns a bundle with its index. If it is missing, and a channel names it, it is fetched while the caller
// waits. Errors are problems.
func (s *Source) Bundle(id digest.Digest) (*store.Bundle, error) {
	b, err := s.Store.Bundle(id)
	if !errors.Is(err, store.ErrNotFound) || s.Alone || !s.IsNamed(id) {
		return b, AsUnknown(id, err)
	}
	return s.fetch(id, 0)
}

// BundleForPeer is Bundle for a request that may have been forwarded by hops nodes, of which it allows a few. Nodes of
// the fleet may request bundles that no channel here names yet; inFleet returns whether the request is signed with the
// fleet key.
func (s *Source) BundleForPeer(id digest.Digest, hops int, inFleet func() bool) (*store.Bundle, error) {
	b, err := s.Store.Bundle(id)
	if err == nil || s.Alone {
		return b, AsUnknown(id, err)
	}
	switch {
	case hops == 0:
		return s.Bundle(id)
	case hops >= origin.MaxHops:
		return nil, AsUnknown(id, err)
	case !s.IsNamed(id) && !inFleet():
		return nil, AsUnknown(id, err)
	}
	return s.fetch(id, hops)
}

func (s *Source) fetch(id digest.Digest, hops int) (*store.Bundle, error) {
	ctx, cancel := context.WithTimeout(s.Context, fillWait)
	defer cancel()
	switch err := s.Filler.Fill(origin.WithHops(ctx, hops), id); {
	case errors.Is(err, origin.ErrNotFound):
		return nil, AsUnknown(id, store.ErrNotFound)
	case err != nil:
		s.Logger.Warn("cannot fetch bundle", "bundle", id.Short(), "error", err)
		return nil, serve.Problem(protocol.CodeUnavailable, fmt.Sprintf("bundle %s is not here yet", id.Short()),
			"try again, or use another node")
	}
	b, err := s.Store.Bundle(id)
	return b, AsUnknown(id, err)
}

// AsUnknown returns the problem of an unknown bundle for [store.ErrNotFound], and other errors as they are.
func AsUnknown(id digest.Digest, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownBundle, fmt.Sprintf("bundle %s is not here", id.Short()), "")
	}
	return err
}

// Chunks reads the chunks of one bundle. A lost or damaged one is fetched again while the caller waits.
type Chunks struct {
	*store.Reader

	source *Source
	bundle digest.Digest
}

// Chunks returns a reader of the chunks of a bundle. The caller closes it.
func (s *Source) Chunks(id digest.Digest) Chunks {
	return Chunks{Reader: s.Store.Reader(), source: s, bundle: id}
}

// Chunk implements [bundle.Chunks].
func (c Chunks) Chunk(ctx context.Context, want bundle.Chunk) ([]byte, error) {
	s := c.source
	data, err := c.Reader.Chunk(ctx, want)
	if !errors.Is(err, store.ErrNotFound) || s.Alone {
		return data, err
	}
	waiting, cancel := context.WithTimeout(ctx, fillWait)
	defer cancel()
	if healing := s.Filler.Fill(waiting, c.bundle); healing != nil {
		s.Logger.Error("cannot fetch lost chunk again", "bundle", c.bundle.Short(),
			"chunk", want.Digest.Short(), "error", healing)
		return nil, err
	}
	s.healed.Add(1)
	s.Logger.Warn("lost chunk fetched again", "bundle", c.bundle.Short(), "chunk", want.Digest.Short())
	return c.Reader.Chunk(ctx, want)
}

// Reader reads the plain bytes of an archive or a file.
type Reader interface {
	io.ReadSeekCloser
	io.WriterTo
}

// plain are the readers of package bundle, which read from chunks.
type plain interface {
	io.ReadSeeker
	io.WriterTo
}

type reader struct {
	plain

	chunks Chunks
}

// Close implements [io.Closer].
func (r reader) Close() error {
	r.chunks.Close()
	return nil
}

// Archive returns a reader of the archive of an index. It reads until ctx ends.
func (s *Source) Archive(ctx context.Context, ix *bundle.Index) Reader {
	from := s.Chunks(ix.Bundle())
	return reader{bundle.NewArchive(ctx, ix, from), from}
}

// File returns a reader of a file of a bundle. It reads until ctx ends.
func (s *Source) File(ctx context.Context, id digest.Digest, f *bundle.File) Reader {
	from := s.Chunks(id)
	return reader{bundle.NewFile(ctx, f, from), from}
}
