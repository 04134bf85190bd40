package origin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// watchdog cancels a call to a source that makes no progress.
type watchdog struct {
	stall   time.Duration
	context context.Context
	cancel  context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// watch returns a context that is cancelled with [ErrStalled] if the watchdog is not restarted in time.
func watch(ctx context.Context, stall time.Duration) (context.Context, *watchdog) {
	w := &watchdog{stall: stall}
	w.context, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() {
		w.cancel(fmt.Errorf("%w: it sent nothing for %s", ErrStalled, stall))
	})
	return w.context, w
}

// pause stops the watchdog until restart.
func (w *watchdog) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// restart gives the call the full time again, unless the watchdog was stopped.
func (w *watchdog) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(w.stall)
	}
}

// stop stops the watchdog for good. It may be called twice.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
	w.cancel(nil)
}

// cause returns the reason why a call failed: ErrStalled if the watchdog cancelled it, and otherwise err.
func (w *watchdog) cause(err error) error {
	if cause := context.Cause(w.context); errors.Is(cause, ErrStalled) {
		return cause
	}
	return err
}
