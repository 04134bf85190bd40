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

// IngestRequest says which bundle is coming in.
type IngestRequest struct {
	Index  *bundle.Index // as bundle.DecodeIndex returned it
	Intent []byte        // the signed bundle intent, kept byte for byte; may be empty
}

// Ingest is a bundle on its way in. It holds a promise of room, and keeps the bundle's chunks from being evicted, until
// it is closed. It is safe for concurrent use, and any number may bring in the same bundle at once.
type Ingest struct {
	store    *Store
	ix       *bundle.Index
	raw      digest.Digest // of the encoded index
	intent   []byte
	chunks   map[digest.Digest]int64 // sizes of all chunks of the bundle; not changed
	promised int64                   // for the index and the list of chunks

	committing sync.Mutex // one Commit at a time; locked before mu

	mu        sync.Mutex
	missing   map[digest.Digest]int64 // what was promised for the chunks that are not here
	pinned    []digest.Digest         // parts of the index and of the list of chunks
	committed bool
	closed    bool
}

// Ingest begins to bring in a bundle. It promises room for what is missing, evicting others if it must, before anything
// is written. It returns [ErrQuota] or [ErrReadOnly] when there is none, and [bundle.ErrMalformed] for an index that is
// none. Close the result.
func (s *Store) Ingest(ctx context.Context, request IngestRequest) (*Ingest, error) {
	if request.Index == nil {
		return nil, fmt.Errorf("ingest: %w: no index", bundle.ErrMalformed)
	}
	if len(request.Intent) > MaxRecord {
		return nil, fmt.Errorf("ingest: intent: %w: %d bytes", ErrTooLarge, len(request.Intent))
	}
	// Decoding is the check that everything after this rests on: sizes that add up, bounds, paths.
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
	if err := in.begin(ctx, int64(len(raw))); err != nil {
		in.unpin()
		return nil, fmt.Errorf("ingest of bundle %s: %w", ix.Bundle().Short(), err)
	}
	return in, nil
}

// begin finds out what is missing and has room promised for it. The chunks are pinned: one that is found stays.
func (in *Ingest) begin(ctx context.Context, index int64) error {
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

// objectFootprint bounds what an object of size bytes takes: its parts and its lists.
func objectFootprint(size int64) int64 {
	o := object{Size: size}
	lists := (o.parts() + listEntries - 1) / listEntries
	return size + o.parts()*digest.Size + (o.parts()+lists)*footprint(0) + 8*(o.parts()+lists)
}

// Missing returns the chunks that are not here, in the order of first use. Another ingest may have brought in some of
// what an earlier call returned.
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

// arrived gives back the promise for a chunk that is here now. The caller holds mu.
func (in *Ingest) arrived(d digest.Digest, promised int64) {
	delete(in.missing, d)
	in.store.quota.release(promised)
}

// Put brings in one chunk. It is verified before anything can see it: a frame that does not decode to its digest is
// [bundle.ErrMalformed] or [digest.ErrMismatch], one that is not in the index [ErrUnwanted]. A chunk that is here
// already is no error. It may return [ErrReadOnly]. The frame is not kept.
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
		f.Encoding, f.Data = bundle.Raw, plain // an encoding that costs more room than was promised
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
	// The lock is held while the blob is written so that Close does not give back a promise that is being used. Badger
	// has a single writer anyway.
	if err := in.store.blobs.put(f); err != nil {
		return err
	}
	in.arrived(f.Digest, promised)
	return nil
}

// Commit makes the bundle visible. It rebuilds the archive from the chunks, each read and verified, derives the index
// from it and compares that with the one that was named: [ErrMismatch] if they differ. It returns [ErrIncomplete] while
// chunks are missing, among them those that it found to be damaged; Missing tells which.
//
// When it returns nil, the bundle survives the death of the process and of the machine. It holds one chunk at a time,
// and the index.
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

// lost takes stock again after a chunk that had been found could not be read.
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

// names returns the digests of all chunks, one after the other: 32 bytes for each, no more than the index takes.
func (in *Ingest) names() []byte {
	b := make([]byte, 0, len(in.chunks)*digest.Size)
	for c := range in.ix.Chunks() {
		b = append(b, c.Digest[:]...)
	}
	return b
}

// write stores an object of the bundle's own. Its parts stay pinned until the ingest is closed.
func (in *Ingest) write(ctx context.Context, r io.Reader) (object, error) {
	s := in.store
	w := objectWriter{put: func(plain []byte) (digest.Digest, error) {
		f := s.blobs.codec.Frame(plain)
		s.pins.pin(f.Digest)
		in.mu.Lock()
		in.pinned = append(in.pinned, f.Digest)
		in.mu.Unlock()
		// A part that is here may be damaged, and nobody would find out before the index is read.
		if _, err := s.blobs.plain(f.Digest); err == nil {
			return f.Digest, nil
		} else if !errors.Is(err, ErrNotFound) {
			return f.Digest, err
		}
		return f.Digest, s.blobs.put(f)
	}}
	return w.write(ctx, r)
}

// Close ends the ingest. Without a Commit before it, the chunks that came in stay as blobs that nothing refers to: the
// same bundle, brought in again, lacks only the rest, and they are the first to be evicted. Close is idempotent and
// waits for a Commit under way.
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
