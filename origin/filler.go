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

// Filler brings bundles into a store. Use [New]; it is safe for concurrent use.
type Filler struct {
	config  Config
	slots   *semaphore.Weighted
	flight  *semaphore.Weighted // bytes that are asked for
	indexes *semaphore.Weighted // bytes of indexes that are decoded
	ahead   ahead
	context context.Context // of all work; done when Close begins
	stop    context.CancelCauseFunc
	work    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	tasks   map[digest.Digest]*task
	failed  map[digest.Digest]failure
	sources map[string]*record
	stats   Stats
}

// failure is the answer to whoever asks again too soon.
type failure struct {
	err   error
	until time.Time
}

// maxFailures bounds how many failures are remembered. They are for storms, which are about few bundles.
const maxFailures = 4096

// New returns a Filler and starts its work in the background. Close it.
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

// Fill returns when the bundle is complete in the store. Of one that is here and has lost chunks, those are fetched
// again. However many call it, a bundle is fetched once; ctx ends only this wait, and the work goes on without it.
//
// It returns [ErrNotFound] when every source said that it does not have the bundle, [ErrUnavailable] when sources
// failed, and both at once for a short time after that without asking any of them; [ErrBusy] when too many bundles
// wait; the store's error when the store cannot take it; and the cause of ctx.
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

// Forget drops what is remembered of a failed fill, because somebody is known to have the bundle now.
func (f *Filler) Forget(id digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failed, id)
}

// join returns the work on a bundle, which it starts if nobody has.
func (f *Filler) join(hops int, id digest.Digest) (*task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if t := f.tasks[id]; t != nil {
		t.hurry()
		f.stats.Joined++
		return t, nil
	}
	if before, ok := f.failed[id]; ok {
		if time.Now().Before(before.until) {
			f.stats.Remembered++
			return nil, before.err
		}
		delete(f.failed, id)
	}
	if len(f.tasks) >= f.config.Slots+f.config.Queue {
		return nil, ErrBusy
	}
	t := f.start(hops, id)
	t.hurry()
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

// start enters a task; the caller holds mu, runs the task and finishes it.
func (f *Filler) start(hops int, id digest.Digest) *task {
	t := &task{filler: f, id: id, hops: hops, done: make(chan struct{}), urgent: make(chan struct{})}
	f.tasks[id] = t
	f.stats.Fills++
	return t
}

// finish wakes all who wait for a task.
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
		if t.asked { // it costs nothing to find nobody to ask, and a node that starts may know somebody at any moment
			f.remember(t.id, err)
		}
	}
	f.mu.Unlock()
	t.err = err
	close(t.done)
}

// remember keeps the failure for those who ask again at once. The caller holds mu.
func (f *Filler) remember(id digest.Digest, err error) {
	now := time.Now()
	if len(f.failed) >= maxFailures {
		for other, before := range f.failed {
			if !now.Before(before.until) || len(f.failed) >= maxFailures {
				delete(f.failed, other)
			}
		}
	}
	f.failed[id] = failure{err: err, until: now.Add(f.config.Remember)}
}

// Close ends all work and waits for it; those who wait get [ErrClosed]. It is idempotent.
func (f *Filler) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop(ErrClosed)
	f.work.Wait()
	return nil
}
