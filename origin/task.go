package origin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
	"brink/store"
)

// batchBytes bounds the bytes that one call of Source.Chunks requests. A batch has some tens of chunks: many enough
// that the cost of a request is small, and few enough that bundles take turns.
const batchBytes = 8 << 20

// recommits is how often chunks that a commit found to be damaged are fetched again. More than one is probably due to a
// bad disk.
const recommits = 3

// task is the fill of one bundle, for which all calls of Fill for the bundle wait.
type task struct {
	filler *Filler
	id     digest.Digest
	hops   int
	done   chan struct{} // closed when err is set
	err    error

	once   sync.Once
	urgent chan struct{} // closed once a call of Fill waits

	// The rest belongs to the goroutine that runs the task.
	asked       bool // a source was tried
	index       *bundle.Index
	indexSource string // name of the source that sent the index; empty for the store itself
	ingest      Ingest
}

// markUrgent records that a call of Fill waits for the task.
func (t *task) markUrgent() { t.once.Do(func() { close(t.urgent) }) }

// ownError is a failure of this node, which another source would not resolve.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// fault returns err as the fault of a source.
func fault(err error) error { return fmt.Errorf("%w: %w", ErrFault, err) }

// run fetches what is missing of the bundle. A panic, which the bytes of a source may cause, fails the fill and not the
// process.
func (t *task) run(ctx context.Context) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			t.filler.config.Logger.Error("panic", "bundle", t.id.Short(), "cause", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return t.fill(ctx)
}

func (t *task) fill(ctx context.Context) error {
	f := t.filler
	ctx = WithHops(ctx, t.hops)
	defer t.close()
	switch index, lost, err := f.config.Store.Lost(ctx, t.id); {
	case err == nil && len(lost) == 0:
		return nil
	case err == nil:
		if err := t.startIngest(ctx, index, nil, ""); err != nil {
			return err
		}
	case !errors.Is(err, ErrNotFound):
		return err
	}
	var reasons []error
	for round := range f.config.Rounds {
		if round > 0 && !pause(ctx, f.config.Pause<<(round-1)) {
			return context.Cause(ctx)
		}
		reasons = reasons[:0]
		absent := true
		for _, source := range f.order(t.id) {
			t.asked = true
			err := t.fillFrom(ctx, source, f.config.Stall<<round)
			switch own := (*ownError)(nil); {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.As(err, &own):
				return own.err
			}
			absent = absent && errors.Is(err, ErrNotFound)
			f.recordFailure(source.Name(), err)
			reasons = append(reasons, fmt.Errorf("%s: %w", source.Name(), err))
		}
		if absent {
			return errors.Join(append([]error{ErrNotFound}, reasons...)...)
		}
	}
	return errors.Join(append([]error{ErrUnavailable}, reasons...)...)
}

// pause waits for about d, and returns false if ctx is done before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// startIngest starts the ingest.
func (t *task) startIngest(ctx context.Context, index *bundle.Index, intent []byte, source string) error {
	ingest, err := t.filler.config.Store.Ingest(ctx, index, intent)
	switch {
	case errors.Is(err, bundle.ErrMalformed):
		return fault(err)
	case err != nil:
		return &ownError{err}
	}
	t.index, t.indexSource, t.ingest = index, source, ingest
	return nil
}

// close closes the ingest. Stored chunks remain in the store.
func (t *task) close() {
	if t.ingest != nil {
		if err := t.ingest.Close(); err != nil {
			t.filler.config.Logger.Warn("cannot close an ingest", "bundle", t.id.Short(), "reason", err)
		}
	}
	t.index, t.indexSource, t.ingest = nil, "", nil
}

// fillFrom fetches the missing chunks that one source has. It returns nil if the bundle is complete.
func (t *task) fillFrom(ctx context.Context, source Source, stall time.Duration) error {
	lacking := make(map[digest.Digest]bool) // at this source
	for commits := 0; ; {
		if t.ingest == nil {
			if err := t.fetchIndex(ctx, source, stall); err != nil {
				return err
			}
		}
		missing := t.ingest.Missing()
		if len(missing) == 0 {
			err := t.commit(ctx, source)
			if commits++; err == nil || !errors.Is(err, store.ErrIncomplete) || commits > recommits {
				return err
			}
			continue
		}
		batch := t.nextBatch(missing, lacking)
		if len(batch) == 0 {
			return fmt.Errorf("%w: the source lacks %d of its chunks", ErrNotFound, len(missing))
		}
		if err := t.fetchChunks(ctx, source, batch, stall); err != nil {
			return err
		}
		still := make(map[digest.Digest]bool)
		for _, c := range t.ingest.Missing() {
			still[c.Digest] = true
		}
		for _, c := range batch {
			if still[c.Digest] {
				lacking[c.Digest] = true
			}
		}
	}
}

// fetchIndex fetches the index from a source, and starts the ingest with it.
func (t *task) fetchIndex(ctx context.Context, source Source, stall time.Duration) error {
	f := t.filler
	var signed []Signed
	if f.config.Signed != nil {
		signed = f.config.Signed(t.id)
	}
	// Source.Bundle does not report progress, so it gets more time. Most indexes have some tens of kilobytes.
	watched, w := watch(ctx, 3*stall)
	raw, intent, err := source.Bundle(watched, t.id, limitOf(signed))
	w.stop()
	if err != nil {
		return w.cause(err)
	}
	// Decoding allocates a few times the bytes. The budget is not acquired while waiting for the source.
	weight := min(int64(len(raw)), bundle.MaxIndex)
	if err := f.indexes.Acquire(ctx, weight); err != nil {
		return err
	}
	defer f.indexes.Release(weight)
	index, err := decodeAny(signed, raw, t.id)
	if err != nil {
		return err
	}
	return t.startIngest(ctx, index, intent, source.Name())
}

// nextBatch returns the chunks to request in one call.
func (t *task) nextBatch(missing []bundle.Chunk, lacking map[digest.Digest]bool) []bundle.Chunk {
	limit := min(batchBytes, t.filler.config.Bytes)
	if !t.isUrgent() {
		limit = min(limit, t.filler.ahead.burst())
	}
	var batch []bundle.Chunk
	var size int64
	for _, c := range missing {
		if lacking[c.Digest] {
			continue
		}
		if size += c.Size; len(batch) > 0 && size > limit || len(batch) == protocol.MaxBatch {
			break
		}
		batch = append(batch, c)
	}
	return batch
}

func (t *task) isUrgent() bool {
	select {
	case <-t.urgent:
		return true
	default:
		return false
	}
}

// fetchChunks fetches chunks from a source and stores them.
func (t *task) fetchChunks(ctx context.Context, source Source, batch []bundle.Chunk, stall time.Duration) error {
	f := t.filler
	var size int64
	for _, c := range batch {
		size += c.Size
	}
	if err := f.ahead.limit(ctx, t, size); err != nil {
		return err
	}
	weight := min(size, f.config.Bytes)
	if err := f.flight.Acquire(ctx, weight); err != nil {
		return err
	}
	defer f.flight.Release(weight)
	watched, w := watch(ctx, stall)
	defer w.stop()
	received := 0
	var refused error
	err := source.Chunks(watched, t.index, batch, func(frame bundle.Frame) error {
		w.pause() // the source is not charged for the time of the store
		defer w.restart()
		if received++; received > len(batch) {
			refused = fault(errors.New("it sent more chunks than were requested"))
		} else {
			refused = t.put(frame)
		}
		if refused == nil {
			f.recordChunk(source.Name(), len(frame.Data), !t.isUrgent())
		}
		return refused
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return w.cause(err)
	}
	return nil
}

// put stores a chunk. Its error tells faults of the source from those of this node.
func (t *task) put(frame bundle.Frame) error {
	err := t.ingest.Put(frame)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bundle.ErrMalformed), errors.Is(err, digest.ErrMismatch), errors.Is(err, store.ErrUnwanted):
		return fault(err)
	}
	return &ownError{err}
}

// commit commits the ingest. If it finds that the index was wrong, it blames the source of the index, and fills again
// if that was another one.
func (t *task) commit(ctx context.Context, source Source) error {
	err := t.ingest.Commit(ctx)
	switch {
	case err == nil:
		t.filler.config.Logger.Info("bundle filled", "bundle", t.id.Short(), "source", source.Name())
		return nil
	case errors.Is(err, store.ErrIncomplete):
		return err
	case !errors.Is(err, store.ErrMismatch):
		return &ownError{err}
	}
	indexSource := t.indexSource
	t.close()
	if indexSource == source.Name() {
		return fault(err)
	}
	if indexSource != "" {
		t.filler.recordFailure(indexSource, fault(err))
	}
	// This source sent good chunks of another source's wrong index. It may have the right index.
	return t.fillFrom(ctx, source, t.filler.config.Stall)
}
