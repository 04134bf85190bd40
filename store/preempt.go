package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// errPreempted is why derived content was not written.
var errPreempted = fmt.Errorf("%w: a bundle needs the room", ErrQuota)

// preemptWait bounds how long a bundle waits for writes of derived content to end. They end between two parts, and an
// encoder makes a part in much less.
const preemptWait = 10 * time.Second

// writing are the writes of derived content under way.
type writing struct {
	mu  sync.Mutex
	all map[*write]struct{}
}

type write struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// start returns the context of a write, and what to call when it has given back all that it had.
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

// preempt cancels the writes under way and waits for their end, ctx, or preemptWait.
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
