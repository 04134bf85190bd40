package store

import (
	"context"
	"fmt"
	"slices"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// Reader reads chunks one after the other, each into the memory of the one before; between two it may hold a file of
// the value log open. Use [Store.Reader], and close it. It is not safe for concurrent use.
type Reader struct {
	blobs   *blobs
	buffers *buffers // nil until the first chunk
}

// buffers are what a Reader reads into. They are used again by others: memory that is new costs as much time as reading
// into it.
type buffers struct {
	log   database.LogReader
	plain []byte // decoded last
}

// Reader returns a reader of chunks.
func (s *Store) Reader() *Reader { return &Reader{blobs: s.blobs} }

// Chunk returns what [Store.Chunk] does, but it is only valid until the next call or Close.
func (r *Reader) Chunk(ctx context.Context, c bundle.Chunk) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plain, err := r.plain(c.Digest)
	if err == nil && c.Size != 0 && int64(len(plain)) != c.Size {
		return nil, fmt.Errorf("chunk %s: %w: it has %d bytes, not %d", c.Digest.Short(), ErrMismatch, len(plain), c.Size)
	}
	return plain, err
}

// Frame returns what [Store.Frame] does, but it is only valid until the next call or Close.
func (r *Reader) Frame(ctx context.Context, d digest.Digest) (bundle.Frame, error) {
	if err := ctx.Err(); err != nil {
		return bundle.Frame{}, err
	}
	r.take()
	return r.blobs.sealed(&r.buffers.log, d)
}

// take sees to it that there are buffers.
func (r *Reader) take() {
	if r.buffers == nil {
		r.buffers, _ = r.blobs.readers.Get().(*buffers)
	}
	if r.buffers == nil {
		r.buffers = &buffers{}
	}
}

// plain returns the verified bytes of d, valid until the next call or Close.
func (r *Reader) plain(d digest.Digest) ([]byte, error) {
	r.take()
	f, err := r.blobs.frame(&r.buffers.log, d, false)
	if err != nil {
		return nil, r.blobs.failed(d, err)
	}
	plain, err := r.blobs.codec.PlainIn(r.buffers.plain, f)
	if err != nil {
		return nil, r.blobs.failed(d, fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	if f.Encoding != bundle.Raw { // otherwise it is the frame itself
		r.buffers.plain = plain
	}
	return plain, nil
}

// Close gives back what the reader holds. It is idempotent, and the reader may be used again.
func (r *Reader) Close() {
	if r.buffers != nil {
		r.buffers.log.Close()
		r.blobs.readers.Put(r.buffers)
		r.buffers = nil
	}
}

// Has reports whether there is a chunk of that name whose envelope looks right. It does not read all of it.
func (s *Store) Has(d digest.Digest) (bool, error) { return s.blobs.has(d) }

// Chunk returns the plain bytes of a chunk, verified; the caller owns them. A chunk that is not here is [ErrNotFound].
// A damaged one is set aside and counted, and is [ErrNotFound] and [ErrDamaged]. Size may be 0 when it is not known.
func (s *Store) Chunk(ctx context.Context, c bundle.Chunk) ([]byte, error) {
	r := s.Reader()
	defer r.Close()
	plain, err := r.Chunk(ctx, c)
	return slices.Clone(plain), err
}

// Frame returns a chunk as it is stored, ready to be sent, verified by the checksum that was made when its plain bytes
// were verified; the caller owns it. Errors are those of [Store.Chunk].
func (s *Store) Frame(ctx context.Context, d digest.Digest) (bundle.Frame, error) {
	if err := ctx.Err(); err != nil {
		return bundle.Frame{}, err
	}
	var log database.LogReader
	defer log.Close()
	return s.blobs.sealed(&log, d)
}

var (
	_ bundle.Chunks = (*Store)(nil)
	_ bundle.Chunks = (*Reader)(nil)
)
