package origin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"brink/bundle"
	"brink/digest"
)

// Filler fetches bundles into a store. Use [New]; it is safe for concurrent use.
type Filler struct {
	config  Config
	slots   *semaphore.Weighted
	flight  *semaphore.Weighted // bytes that are requested and not received yet
	indexes *semaphore.Weighted // bytes of indexes that are being decoded
	ahead   ahead
	context context.Context // of all tasks; Close cancels it
	stop    context.CancelCauseFunc
	work    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	tasks   map[digest.Digest]*task
	failed  map[digest.Digest]failure
	sources map[string]*record
	stats   Stats
}

// failure is a recent failure, which calls return until a time.
type failure struct {
	err   error
	until time.Time
}

// maxFailures bounds the failures that are remembered. They matter for bursts of requests, which are for few bundles.
const maxFailures = 4096

// New returns a Filler and starts its work in the background. The caller must close it.
func New(config Config) (*Filler, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	config = config.withDefaults()
	f := &Filler{
		config:  config,
		slots:   semaphore.NewWeighted(int64(config.Slots)),
		flight:  semaphore.NewWeighted(config.Bytes),
		indexes: semaphore.NewWeighted(bundle.MaxIndex),
		tasks:   make(map[digest.Digest]*task),
		failed:  make(map[digest.Digest]failure),
		sources: make(map[string]*record),
	}
	f.context, f.stop = context.WithCancelCause(context.Background())
	f.ahead.init(config)
	f.work.Go(f.fillAhead)
	return f, nil
}

// Fill fetches a bundle, or only the chunks that the store has lost of it, and returns when it is complete in the
// store. A bundle is fetched once, however many calls wait for it. ctx ends only the wait: the fetch continues.
//
// It returns [ErrNotFound] if no source has the bundle, and [ErrUnavailable] if sources failed; for a short time after
// that, it returns the same error immediately. It returns [ErrBusy] if too many bundles wait, the error of the store if
// that fails, and the cause of ctx.
func (f *Filler) Fill(ctx context.Context, id digest.Digest) error {
	t, err := f.join(Hops(ctx), id)
	if err != nil {
		return fmt.Errorf("fill bundle %s: %w", id.Short(), err)
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		return fmt.Errorf("fill bundle %s: %w", id.Short(), context.Cause(ctx))
	}
	if t.err != nil {
		return fmt.Errorf("fill bundle %s: %w", id.Short(), t.err)
	}
	return nil
}

// Forget drops a remembered failure, because a source is known to have the bundle now.
func (f *Filler) Forget(id digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failed, id)
}

// join returns the task of a bundle, and starts one if there is none.
func (f *Filler) join(hops int, id digest.Digest) (*task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if t := f.tasks[id]; t != nil {
		t.markUrgent()
		f.stats.Joined++
		return t, nil
	}
	if last, ok := f.failed[id]; ok {
		if time.Now().Before(last.until) {
			f.stats.Remembered++
			return nil, last.err
		}
		delete(f.failed, id)
	}
	if len(f.tasks) >= f.config.Slots+f.config.Queue {
		return nil, ErrBusy
	}
	t := f.addTask(hops, id)
	t.markUrgent()
	f.work.Go(func() {
		err := f.slots.Acquire(f.context, 1)
		if err == nil {
			err = t.run(f.context)
			f.slots.Release(1)
		}
		f.finish(t, err)
	})
	return t, nil
}

// addTask adds a task. The caller must hold mu, and then run and finish the task.
func (f *Filler) addTask(hops int, id digest.Digest) *task {
	t := &task{filler: f, id: id, hops: hops, done: make(chan struct{}), urgent: make(chan struct{})}
	f.tasks[id] = t
	f.stats.Fills++
	return t
}

// finish removes a task and wakes the calls that wait for it.
func (f *Filler) finish(t *task, err error) {
	if err != nil && f.context.Err() != nil {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	f.mu.Lock()
	delete(f.tasks, t.id)
	switch {
	case err == nil:
		f.stats.Filled++
	case f.context.Err() == nil:
		f.stats.Failed++
		if t.asked { // without sources, failing is cheap, and a node that starts may get sources at any moment
			f.remember(t.id, err)
		}
	}
	f.mu.Unlock()
	t.err = err
	close(t.done)
}

// remember stores a failure for the next calls. The caller must hold mu.
func (f *Filler) remember(id digest.Digest, err error) {
	now := time.Now()
	if len(f.failed) >= maxFailures {
		for other, last := range f.failed {
			if !now.Before(last.until) || len(f.failed) >= maxFailures {
				delete(f.failed, other)
			}
		}
	}
	f.failed[id] = failure{err: err, until: now.Add(f.config.Remember)}
}

// Close stops all work and waits until it has stopped; waiting calls return [ErrClosed]. It is idempotent.
func (f *Filler) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop(ErrClosed)
	f.work.Wait()
	return nil
}
