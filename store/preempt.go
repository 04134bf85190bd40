package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// errPreempted is returned for derived content whose write was cancelled.
var errPreempted = fmt.Errorf("%w: a bundle needs the space", ErrQuota)

// preemptWait bounds how long a bundle waits for writes of derived content to end. A write ends between two parts, and
// an encoder needs much less time for a part.
const preemptWait = 10 * time.Second

// writing is the set of writes of derived content in progress.
type writing struct {
	mu  sync.Mutex
	all map[*write]struct{}
}

type write struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// start adds a write. It returns the context of the write, and a function to call when the write has released
// everything.
func (w *writing) start(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &write{cancel: cancel, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*write]struct{}{}
	}
	w.all[one] = struct{}{}
	return ctx, func() {
		cancel(nil)
		close(one.done)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, one)
	}
}

// preempt cancels the writes in progress, and waits until they have ended, ctx is done, or preemptWait has passed.
func (w *writing) preempt(ctx context.Context) {
	w.mu.Lock()
	var all []*write
	for one := range w.all {
		one.cancel(errPreempted)
		all = append(all, one)
	}
	w.mu.Unlock()
	late := time.NewTimer(preemptWait)
	defer late.Stop()
	for _, one := range all {
		select {
		case <-one.done:
		case <-ctx.Done():
			return
		case <-late.C:
			return
		}
	}
}
