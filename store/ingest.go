package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"brink/bundle"
	"brink/digest"
)

// IngestRequest describes the bundle to ingest.
type IngestRequest struct {
	Index  *bundle.Index // as returned by bundle.DecodeIndex
	Intent []byte        // the signed bundle intent, stored byte for byte; may be empty
}

// Ingest adds a bundle to the store. Until it is closed, it has space reserved and pins the bundle's chunks, so that
// they are not evicted. It is safe for concurrent use, and any number of them may add the same bundle concurrently.
type Ingest struct {
	store    *Store
	ix       *bundle.Index
	raw      digest.Digest // of the encoded index
	intent   []byte
	chunks   map[digest.Digest]int64 // sizes of all chunks of the bundle; immutable
	promised int64                   // bytes reserved for the index and the list of chunks

	committing sync.Mutex // one Commit at a time; acquired before mu

	mu        sync.Mutex
	missing   map[digest.Digest]int64 // bytes reserved for each missing chunk
	pinned    []digest.Digest         // parts of the index and of the list of chunks
	committed bool
	closed    bool
}

// Ingest starts adding a bundle. Before anything is written, it reserves space for the missing chunks, and evicts other
// data if necessary. It returns [ErrQuota] or [ErrReadOnly] if there is not enough space, and [bundle.ErrMalformed] for
// an invalid index. The caller has to close the Ingest.
func (s *Store) Ingest(ctx context.Context, request IngestRequest) (*Ingest, error) {
	if request.Index == nil {
		return nil, fmt.Errorf("ingest: %w: no index", bundle.ErrMalformed)
	}
	if len(request.Intent) > MaxRecord {
		return nil, fmt.Errorf("ingest: intent: %w: %d bytes", ErrTooLarge, len(request.Intent))
	}
	// Decoding checks everything that the following code relies on: sizes that add up, limits, paths.
	raw := request.Index.Encode()
	ix, err := bundle.DecodeIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	in := &Ingest{
		store:   s,
		ix:      ix,
		raw:     digest.Sum(raw),
		intent:  bytes.Clone(request.Intent),
		chunks:  make(map[digest.Digest]int64),
		missing: make(map[digest.Digest]int64),
	}
	for c := range ix.Chunks() {
		in.chunks[c.Digest] = c.Size
	}
	s.pins.pin(ix.Bundle())
	for d := range in.chunks {
		s.pins.pin(d)
	}
	if err := in.reserve(ctx, int64(len(raw))); err != nil {
		in.unpin()
		return nil, fmt.Errorf("ingest of bundle %s: %w", ix.Bundle().Short(), err)
	}
	return in, nil
}

// reserve finds the missing chunks and reserves space for them. The chunks are pinned, so those that exist are not
// evicted.
func (in *Ingest) reserve(ctx context.Context, index int64) error {
	in.promised = objectFootprint(index) + objectFootprint(int64(len(in.chunks))*digest.Size)
	total := in.promised
	for d, size := range in.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		found, err := in.store.blobs.has(d)
		if err != nil {
			return err
		}
		if !found {
			in.missing[d] = footprint(size)
			total += footprint(size)
		}
	}
	return in.store.quota.reserve(ctx, total, evictAll)
}

// objectFootprint returns the maximum bytes on disk of an object of size bytes: its parts and its lists.
func objectFootprint(size int64) int64 {
	o := object{Size: size}
	lists := (o.parts() + listEntries - 1) / listEntries
	return size + o.parts()*digest.Size + (o.parts()+lists)*footprint(0) + 8*(o.parts()+lists)
}

// Missing returns the missing chunks in the order of first use. Some that an earlier call returned may have been added
// by another Ingest.
func (in *Ingest) Missing() []bundle.Chunk {
	in.mu.Lock()
	defer in.mu.Unlock()
	for d, promised := range in.missing {
		if found, err := in.store.blobs.known(d); err == nil && found {
			in.arrived(d, promised)
		}
	}
	if len(in.missing) == 0 {
		return nil
	}
	list := make([]bundle.Chunk, 0, len(in.missing))
	for c := range in.ix.Chunks() {
		if _, missing := in.missing[c.Digest]; missing {
			list = append(list, c)
		}
	}
	return list
}

// arrived releases the reservation for a chunk that exists now. The caller must hold mu.
func (in *Ingest) arrived(d digest.Digest, promised int64) {
	delete(in.missing, d)
	in.store.quota.release(promised)
}

// Put adds one chunk. It verifies the chunk before it becomes visible, and returns [bundle.ErrMalformed] or
// [digest.ErrMismatch] for a frame that does not decode to its digest, and [ErrUnwanted] for a chunk that is not in the
// index. Adding an existing chunk is not an error. It may return [ErrReadOnly]. It does not retain the frame.
func (in *Ingest) Put(f bundle.Frame) error {
	size, wanted := in.chunks[f.Digest]
	if !wanted || f.Size != size {
		return fmt.Errorf("chunk %s of %d bytes: %w", f.Digest.Short(), f.Size, ErrUnwanted)
	}
	plain, err := in.store.blobs.codec.Plain(f)
	if err != nil {
		return err
	}
	if len(f.Data) > len(plain) {
		f.Encoding, f.Data = bundle.Raw, plain // the encoding needs more space than was reserved
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return fmt.Errorf("put chunk: %w: ingest is closed", ErrClosed)
	}
	promised, missing := in.missing[f.Digest]
	if !missing {
		return nil
	}
	// The lock is held while the blob is written, so that Close does not release a reservation that is being used. Badger
	// has only a single writer anyway.
	if err := in.store.blobs.put(f); err != nil {
		return err
	}
	in.arrived(f.Digest, promised)
	return nil
}

// Commit makes the bundle visible. It reads and verifies all chunks, rebuilds the archive from them, builds the index
// of that, and returns [ErrMismatch] if it differs from the requested one. It returns [ErrIncomplete] while chunks are
// missing, including those that it found to be damaged; Missing returns which.
//
// If it returns nil, the bundle is durable: it survives kill -9 and power loss. Commit holds only one chunk and the
// index in memory.
func (in *Ingest) Commit(ctx context.Context) error {
	in.committing.Lock()
	defer in.committing.Unlock()
	err := in.commit(ctx)
	if err != nil {
		return fmt.Errorf("commit of bundle %s: %w", in.ix.Bundle().Short(), err)
	}
	return nil
}

func (in *Ingest) commit(ctx context.Context) error {
	s := in.store
	in.mu.Lock()
	closed, committed := in.closed, in.committed
	in.mu.Unlock()
	switch {
	case committed:
		return nil
	case closed:
		return fmt.Errorf("%w: ingest is closed", ErrClosed)
	}
	if lacking := len(in.Missing()); lacking > 0 {
		return fmt.Errorf("%w: %d of %d chunks are missing", ErrIncomplete, lacking, len(in.chunks))
	}
	derived, err := bundle.IndexArchive(ctx, bundle.NewArchive(ctx, in.ix, s))
	switch {
	case errors.Is(err, ErrNotFound):
		if again := in.lost(ctx); again != nil {
			return again
		}
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	case errors.Is(err, bundle.ErrMalformed), errors.Is(err, ErrMismatch):
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	case err != nil:
		return err
	}
	raw := derived.Encode()
	if digest.Sum(raw) != in.raw {
		return fmt.Errorf("%w: the archive is %s, its index %s", ErrMismatch, derived.Bundle(), digest.Sum(raw))
	}
	record := bundleRecord{
		Size: derived.Archive.Size, SHA256: derived.Archive.SHA256, Files: len(derived.Files),
		CreatedAt: s.config.Now().Unix(),
	}
	if record.Index, err = in.write(ctx, bytes.NewReader(raw)); err != nil {
		return err
	}
	if record.Chunks, err = in.write(ctx, bytes.NewReader(in.names())); err != nil {
		return err
	}
	if err := s.blobs.db.Sync(); err != nil {
		return err
	}
	if err := s.acknowledge(in.ix.Bundle(), record, in.intent); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.committed = true
	if !in.closed {
		s.quota.release(in.promised)
		in.promised = 0
	}
	return nil
}

// lost updates the missing chunks after an existing chunk could not be read.
func (in *Ingest) lost(ctx context.Context) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return fmt.Errorf("%w: ingest is closed", ErrClosed)
	}
	for d, size := range in.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, missing := in.missing[d]; missing {
			continue
		}
		found, err := in.store.blobs.known(d)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if err := in.store.quota.reserve(ctx, footprint(size), evictAll); err != nil {
			return err
		}
		in.missing[d] = footprint(size)
	}
	return nil
}

// names returns the concatenated digests of all chunks. It is not longer than the index.
func (in *Ingest) names() []byte {
	b := make([]byte, 0, len(in.chunks)*digest.Size)
	for c := range in.ix.Chunks() {
		b = append(b, c.Digest[:]...)
	}
	return b
}

// write stores the index or the list of chunks as an object. Its parts stay pinned until the Ingest is closed.
func (in *Ingest) write(ctx context.Context, r io.Reader) (object, error) {
	s := in.store
	w := objectWriter{put: func(plain []byte) (digest.Digest, error) {
		f := s.blobs.codec.Frame(plain)
		s.pins.pin(f.Digest)
		in.mu.Lock()
		in.pinned = append(in.pinned, f.Digest)
		in.mu.Unlock()
		// An existing part may be damaged, which would otherwise be detected only when the index is read.
		if _, err := s.blobs.plain(f.Digest); err == nil {
			return f.Digest, nil
		} else if !errors.Is(err, ErrNotFound) {
			return f.Digest, err
		}
		return f.Digest, s.blobs.put(f)
	}}
	return w.write(ctx, r)
}

// Close releases reservations and pins. Without a Commit before it, the added chunks remain as unreferenced blobs,
// which are the first to be evicted; until then, another Ingest of the same bundle lacks only the rest. Close is
// idempotent and waits for a concurrent Commit.
func (in *Ingest) Close() error {
	in.committing.Lock()
	defer in.committing.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	for d, promised := range in.missing {
		in.arrived(d, promised)
	}
	in.store.quota.release(in.promised)
	in.unpin()
	return nil
}

func (in *Ingest) unpin() {
	s := in.store
	s.pins.unpin(in.ix.Bundle())
	for d := range in.chunks {
		s.pins.unpin(d)
	}
	s.pins.unpin(in.pinned...)
	in.pinned = nil
}
