package store

import (
	"context"
	"fmt"
	"slices"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// Reader reads chunks one after the other, and reuses its memory for each. It may keep a file of the value log open
// between calls. Use [Store.Reader]; the caller has to close it. It is not safe for concurrent use.
type Reader struct {
	blobs   *blobs
	buffers *buffers // nil until the first chunk
}

// buffers is the memory of a Reader. It is pooled, because allocating memory takes as long as reading into it.
type buffers struct {
	log   database.LogReader
	plain []byte // the last decoded chunk
}

// Reader returns a reader of chunks.
func (s *Store) Reader() *Reader { return &Reader{blobs: s.blobs} }

// Chunk is like [Store.Chunk], but the bytes are valid only until the next call or Close.
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

// Frame is like [Store.Frame], but the bytes are valid only until the next call or Close.
func (r *Reader) Frame(ctx context.Context, d digest.Digest) (bundle.Frame, error) {
	if err := ctx.Err(); err != nil {
		return bundle.Frame{}, err
	}
	r.acquire()
	return r.blobs.sealed(&r.buffers.log, d)
}

// acquire acquires buffers, if the reader has none.
func (r *Reader) acquire() {
	if r.buffers == nil {
		r.buffers, _ = r.blobs.readers.Get().(*buffers)
	}
	if r.buffers == nil {
		r.buffers = &buffers{}
	}
}

// plain returns the verified bytes of d, valid until the next call or Close.
func (r *Reader) plain(d digest.Digest) ([]byte, error) {
	r.acquire()
	f, err := r.blobs.frame(&r.buffers.log, d, false)
	if err != nil {
		return nil, r.blobs.failed(d, err)
	}
	plain, err := r.blobs.codec.PlainIn(r.buffers.plain, f)
	if err != nil {
		return nil, r.blobs.failed(d, fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	if f.Encoding != bundle.Raw { // otherwise plain is in the frame
		r.buffers.plain = plain
	}
	return plain, nil
}

// Close releases the buffers. It is idempotent, and the reader may be used again.
func (r *Reader) Close() {
	if r.buffers != nil {
		r.buffers.log.Close()
		r.blobs.readers.Put(r.buffers)
		r.buffers = nil
	}
}

// Has reports whether there is a chunk d whose envelope has a valid header. It does not verify the rest.
func (s *Store) Has(d digest.Digest) (bool, error) { return s.blobs.has(d) }

// Chunk returns the verified plain bytes of a chunk; the caller owns them. It returns [ErrNotFound] for a missing
// chunk, and both [ErrNotFound] and [ErrDamaged] for a damaged one, which it quarantines and counts. c.Size may be 0 if
// it is unknown.
func (s *Store) Chunk(ctx context.Context, c bundle.Chunk) ([]byte, error) {
	r := s.Reader()
	defer r.Close()
	plain, err := r.Chunk(ctx, c)
	return slices.Clone(plain), err
}

// Frame returns a chunk as it is stored, ready to be sent. It is verified by a checksum, which was computed when its
// plain bytes were verified. The caller owns the frame. Errors are those of [Store.Chunk].
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
