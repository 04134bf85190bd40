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

// batchBytes bounds what one call of Source.Chunks asks for. It is some tens of chunks, so that asking costs little
// beside sending, and little enough that bundles take turns.
const batchBytes = 8 << 20

// recommits is how often chunks that turned out to be damaged at the commit are fetched again: once is bad luck, more
// is a bad disk.
const recommits = 3

// task is the work on one bundle, and what all who want the bundle wait for.
type task struct {
	filler *Filler
	id     digest.Digest
	hops   int
	done   chan struct{} // closed when err is set
	err    error

	once   sync.Once
	urgent chan struct{} // closed once somebody waits

	// The rest belongs to the goroutine that runs the task.
	asked  bool // a source, so that a failure says something about them
	index  *bundle.Index
	giver  string // of the index; empty for the store itself
	ingest Ingest
}

// hurry tells the task that somebody waits for it.
func (t *task) hurry() { t.once.Do(func() { close(t.urgent) }) }

// ownError is a failure on our side, which no other source would mend.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// fault says that a source is to blame.
func fault(err error) error { return fmt.Errorf("%w: %w", ErrFault, err) }

// run fetches what is missing of the bundle. A panic is the program's fault, on bytes of a source: it costs the bundle,
// not the process.
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
		if err := t.begin(ctx, index, nil, ""); err != nil {
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
			err := t.from(ctx, source, f.config.Stall<<round)
			switch own := (*ownError)(nil); {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.As(err, &own):
				return own.err
			}
			absent = absent && errors.Is(err, ErrNotFound)
			f.blame(source.Name(), err)
			reasons = append(reasons, fmt.Errorf("%s: %w", source.Name(), err))
		}
		if absent {
			return errors.Join(append([]error{ErrNotFound}, reasons...)...)
		}
	}
	return errors.Join(append([]error{ErrUnavailable}, reasons...)...)
}

// pause waits for about d, and reports whether the work may go on.
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

// begin opens the ingest.
func (t *task) begin(ctx context.Context, index *bundle.Index, intent []byte, giver string) error {
	ingest, err := t.filler.config.Store.Ingest(ctx, index, intent)
	switch {
	case errors.Is(err, bundle.ErrMalformed):
		return fault(err)
	case err != nil:
		return &ownError{err}
	}
	t.index, t.giver, t.ingest = index, giver, ingest
	return nil
}

// close ends the ingest; what came in stays in the store.
func (t *task) close() {
	if t.ingest != nil {
		if err := t.ingest.Close(); err != nil {
			t.filler.config.Logger.Warn("ingest not closed", "bundle", t.id.Short(), "reason", err)
		}
	}
	t.index, t.giver, t.ingest = nil, "", nil
}

// from gets from one source whatever is missing and it has. It returns nil when the bundle is complete.
func (t *task) from(ctx context.Context, source Source, stall time.Duration) error {
	lacking := make(map[digest.Digest]bool) // at this source
	for commits := 0; ; {
		if t.ingest == nil {
			if err := t.ask(ctx, source, stall); err != nil {
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
		batch := t.next(missing, lacking)
		if len(batch) == 0 {
			return fmt.Errorf("%w: it lacks %d chunks of it", ErrNotFound, len(missing))
		}
		if err := t.fetch(ctx, source, batch, stall); err != nil {
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

// ask gets the index from a source, and begins the ingest with it.
func (t *task) ask(ctx context.Context, source Source, stall time.Duration) error {
	f := t.filler
	var signed []Signed
	if f.config.Signed != nil {
		signed = f.config.Signed(t.id)
	}
	// An index comes as a whole, and its bytes cannot be watched. Most have some tens of kilobytes.
	watched, w := watch(ctx, 3*stall)
	raw, intent, err := source.Bundle(watched, t.id, limitOf(signed))
	w.end()
	if err != nil {
		return w.cause(err)
	}
	// Decoding takes a few times the bytes. The budget is not held while a source is waited for.
	weight := min(int64(len(raw)), bundle.MaxIndex)
	if err := f.indexes.Acquire(ctx, weight); err != nil {
		return err
	}
	defer f.indexes.Release(weight)
	index, err := decodeAny(signed, raw, t.id)
	if err != nil {
		return err
	}
	return t.begin(ctx, index, intent, source.Name())
}

// next returns what to ask for in one call.
func (t *task) next(missing []bundle.Chunk, lacking map[digest.Digest]bool) []bundle.Chunk {
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

// fetch asks a source for some chunks and puts in what comes.
func (t *task) fetch(ctx context.Context, source Source, batch []bundle.Chunk, stall time.Duration) error {
	f := t.filler
	var size int64
	for _, c := range batch {
		size += c.Size
	}
	if err := f.ahead.pay(ctx, t, size); err != nil {
		return err
	}
	weight := min(size, f.config.Bytes)
	if err := f.flight.Acquire(ctx, weight); err != nil {
		return err
	}
	defer f.flight.Release(weight)
	watched, w := watch(ctx, stall)
	defer w.end()
	came := 0
	var refused error
	err := source.Chunks(watched, t.index, batch, func(frame bundle.Frame) error {
		w.stop() // time that the store takes is not the source's
		defer w.start()
		if came++; came > len(batch) {
			refused = fault(errors.New("it sends more than it was asked for"))
		} else {
			refused = t.put(frame)
		}
		if refused == nil {
			f.count(source.Name(), len(frame.Data), !t.isUrgent())
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

// put brings in a chunk, and says whose fault it is when that fails.
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

// commit ends the work, or finds that the index was wrong.
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
	giver := t.giver
	t.close()
	if giver == source.Name() {
		return fault(err)
	}
	if giver != "" {
		t.filler.blame(giver, fault(err))
	}
	// This source gave good chunks by the wrong index of another. It may have the right one.
	return t.from(ctx, source, t.filler.config.Stall)
}
