package origin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// watchdog ends a call to a source in which nothing moves.
type watchdog struct {
	stall   time.Duration
	context context.Context
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// watch returns a context that ends with [ErrStalled] when the watchdog was not started again in time.
func watch(ctx context.Context, stall time.Duration) (context.Context, *watchdog) {
	w := &watchdog{stall: stall}
	w.context, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() {
		w.cancel(fmt.Errorf("%w: nothing came for %s", ErrStalled, stall))
	})
	return w.context, w
}

// stop holds the watchdog until start.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

func (w *watchdog) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer.Reset(w.stall)
	}
}

// end lets go of the watchdog. It may be called twice.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	w.cancel(nil)
}

// cause returns the reason why a call failed: ErrStalled if it was ended by the watchdog, whatever the source made of
// that.
func (w *watchdog) cause(err error) error {
	if cause := context.Cause(w.context); errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}
