// Package bundles reads the bundles of a node, and fetches what is missing.
//
// The life of one read: [Source.Bundle] finds the bundle with its index in the store. One that is not there, and that a
// channel names, is fetched from other nodes or the origin while the caller waits, for a bounded time. A [Chunks] reads
// its chunks from the store, one after the other; a chunk that turns out to be lost or damaged is fetched again.
//
// The invariant: nothing is fetched that no channel in force names, unless another node of the fleet asks for it.
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

// fillWait bounds how long a request waits for a bundle or a chunk to be fetched. Devices ask again.
const fillWait = 20 * time.Second

// Config is what a [Source] works with. All fields are required.
type Config struct {
	Context context.Context // of all fetches
	Store   *store.Store
	Filler  *origin.Filler
	IsNamed func(digest.Digest) bool // whether a channel in force names the bundle
	Alone   bool                     // there is nowhere to fetch from
	Logger  *slog.Logger
}

// Source is where bundles come from.
type Source struct {
	Config

	healed atomic.Int64
}

// New returns a source.
func New(config Config) *Source { return &Source{Config: config} }

// Healed returns how many lost chunks were fetched again while somebody waited.
func (s *Source) Healed() int64 { return s.healed.Load() }

// Bundle returns a bundle with its index. One that is missing and that a channel names is fetched while the caller
// waits. An error is a problem.
func (s *Source) Bundle(id digest.Digest) (*store.Bundle, error) {
	b, err := s.Store.Bundle(id)
	if !errors.Is(err, store.ErrNotFound) || s.Alone || !s.IsNamed(id) {
		return b, AsUnknown(id, err)
	}
	return s.fetch(id, 0)
}

// BundleForPeer is Bundle for a request that may have come from another node, over so many hops: it goes on over a few
// nodes and no further. The fleet may ask for bundles that no channel here names yet, so inFleet says whether the
// request is signed by the fleet.
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
		s.Logger.Warn("bundle cannot be fetched", "bundle", id.Short(), "error", err)
		return nil, serve.Problem(protocol.CodeUnavailable, fmt.Sprintf("bundle %s is not here yet", id.Short()),
			"ask again, or ask another node")
	}
	b, err := s.Store.Bundle(id)
	return b, AsUnknown(id, err)
}

// AsUnknown gives the error for a bundle that is not here its code.
func AsUnknown(id digest.Digest, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownBundle, fmt.Sprintf("bundle %s is not here", id.Short()), "")
	}
	return err
}

// Chunks are the chunks of one bundle. One that turns out to be lost or damaged is fetched again while the caller
// waits.
type Chunks struct {
	*store.Reader

	source *Source
	bundle digest.Digest
}

// Chunks returns what reads the chunks of a bundle. The caller closes it.
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
		s.Logger.Error("lost chunk cannot be fetched again", "bundle", c.bundle.Short(),
			"chunk", want.Digest.Short(), "error", healing)
		return nil, err
	}
	s.healed.Add(1)
	s.Logger.Warn("lost chunk was fetched again", "bundle", c.bundle.Short(), "chunk", want.Digest.Short())
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
