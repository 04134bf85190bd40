package origin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"brink/bundle"
	"brink/digest"
)

// maxAhead bounds the queue of bundles to be filled ahead. The oldest are dropped: devices request the newest, and a
// dropped bundle is fetched on demand.
const maxAhead = 4096

// A bundle that cannot be filled ahead is tried again after aheadPause, and then each time after twice as long,
// aheadTries times in total: for about two minutes, in which its sources may recover.
const (
	aheadPause = time.Second
	aheadTries = 8
)

// Progress has the counters of filling ahead.
type Progress struct {
	Missing int   `json:"missing"` // bundles that wait, or are being filled
	Filled  int64 `json:"filled"`  // bundles, since the start
	Failed  int64 `json:"failed"`  // bundles that were given up
	Bytes   int64 `json:"bytes"`   // that were received, encoded
}

// ahead is the queue of bundles to be filled before they are requested.
type ahead struct {
	jitter  time.Duration
	limiter *rate.Limiter // nil: no limit
	wake    chan struct{}

	mu       sync.Mutex
	queue    []waiting // the last one has the highest priority
	working  bool
	progress Progress
	waiters  map[digest.Digest][]chan error // of calls of FillAhead; each channel has a buffer of one
}

type waiting struct {
	id    digest.Digest
	due   time.Time
	tries int
}

func (a *ahead) init(config Config) {
	a.jitter = config.Jitter
	a.wake = make(chan struct{}, 1)
	a.waiters = make(map[digest.Digest][]chan error)
	if config.Rate > 0 {
		// Bursts of one second, and at least of one chunk.
		burst := max(bundle.MaxChunk, min(batchBytes, config.Rate))
		a.limiter = rate.NewLimiter(rate.Limit(config.Rate), int(burst))
	}
}

// burst returns the largest batch that is fetched ahead, in bytes.
func (a *ahead) burst() int64 {
	if a.limiter == nil {
		return batchBytes
	}
	return int64(a.limiter.Burst())
}

// limit waits until the rate allows size more bytes, or until the task is urgent.
func (a *ahead) limit(ctx context.Context, t *task, size int64) error {
	if a.limiter == nil || t.isUrgent() {
		return nil
	}
	wait := a.limiter.ReserveN(time.Now(), int(min(size, a.burst()))).Delay()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.urgent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Ahead fills bundles in the background before they are requested: those of the newest call first, and of one call in
// order. One that waits already moves to the front. It does not block.
func (f *Filler) Ahead(ids ...digest.Digest) {
	a := &f.ahead
	due := time.Now()
	if a.jitter > 0 {
		due = due.Add(rand.N(a.jitter))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range slices.Backward(ids) {
		a.push(waiting{id: id, due: due})
	}
	a.notify()
}

// FillAhead is Ahead for one bundle, and returns when it is complete or was given up. It is for callers that can use an
// older bundle meanwhile: the rate limit applies until Fill is called for the bundle. ctx ends only the wait.
func (f *Filler) FillAhead(ctx context.Context, id digest.Digest) error {
	done := make(chan error, 1)
	f.ahead.mu.Lock()
	f.ahead.waiters[id] = append(f.ahead.waiters[id], done)
	f.ahead.mu.Unlock()
	f.Ahead(id)
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-f.context.Done():
		err = ErrClosed
	}
	if err != nil {
		f.ahead.removeWaiter(id, done)
		return fmt.Errorf("fill bundle %s ahead: %w", id.Short(), err)
	}
	return nil
}

// removeWaiter removes a call that does not wait any more.
func (a *ahead) removeWaiter(id digest.Digest, done chan error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := slices.DeleteFunc(a.waiters[id], func(c chan error) bool { return c == done })
	if a.waiters[id] = left; len(left) == 0 {
		delete(a.waiters, id)
	}
}

// notifyWaiters wakes the calls that wait for a bundle. The caller must hold mu.
func (a *ahead) notifyWaiters(id digest.Digest, err error) {
	for _, done := range a.waiters[id] {
		done <- err
	}
	delete(a.waiters, id)
}

// Progress returns the counters of filling ahead.
func (f *Filler) Progress() Progress {
	f.ahead.mu.Lock()
	defer f.ahead.mu.Unlock()
	p := f.ahead.progress
	p.Missing = len(f.ahead.queue)
	if f.ahead.working {
		p.Missing++
	}
	return p
}

// push adds a bundle with the highest priority. The caller must hold mu.
func (a *ahead) push(w waiting) {
	a.queue = slices.DeleteFunc(a.queue, func(other waiting) bool { return other.id == w.id })
	a.queue = append(a.queue, w)
	if len(a.queue) > maxAhead {
		dropped := a.queue[:len(a.queue)-maxAhead]
		for _, w := range dropped {
			a.notifyWaiters(w.id, ErrBusy)
		}
		a.queue = slices.Delete(a.queue, 0, len(dropped))
	}
}

// notify wakes fillAhead.
func (a *ahead) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// pop removes the bundle with the highest priority that is due. If none is, it returns how long to wait for one.
func (a *ahead) pop(now time.Time) (w waiting, found bool, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = time.Hour
	for i, w := range slices.Backward(a.queue) {
		if !w.due.After(now) {
			a.queue = slices.Delete(a.queue, i, i+1)
			a.working = true
			return w, true, 0
		}
		wait = min(wait, w.due.Sub(now))
	}
	return waiting{}, false, wait
}

// finish records the result of a bundle. One that failed is queued again with the lowest priority.
func (a *ahead) finish(w waiting, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working = false
	if err == nil {
		a.progress.Filled++
		a.notifyWaiters(w.id, nil)
		return
	}
	if w.tries++; w.tries == aheadTries {
		a.progress.Failed++
		a.notifyWaiters(w.id, err)
		return
	}
	again := slices.ContainsFunc(a.queue, func(other waiting) bool { return other.id == w.id })
	if again || len(a.queue) >= maxAhead {
		return
	}
	pause := aheadPause << (w.tries - 1)
	w.due = time.Now().Add(pause/2 + rand.N(pause))
	a.queue = slices.Insert(a.queue, 0, w)
}

// fillAhead fills one bundle after the other until the Filler is closed. It acquires no slot: slots are for bundles for
// which calls wait.
func (f *Filler) fillAhead() {
	for {
		w, found, wait := f.ahead.pop(time.Now())
		if !found {
			timer := time.NewTimer(wait)
			select {
			case <-f.context.Done():
				timer.Stop()
				return
			case <-f.ahead.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		err := f.fillOneAhead(w.id)
		if f.context.Err() != nil {
			return
		}
		if err != nil {
			f.config.Logger.Debug("cannot fill a bundle ahead", "bundle", w.id.Short(), "reason", err)
		}
		f.ahead.finish(w, err)
	}
}

func (f *Filler) fillOneAhead(id digest.Digest) error {
	f.mu.Lock()
	t := f.tasks[id]
	if t != nil {
		f.mu.Unlock()
		select {
		case <-t.done:
			return t.err
		case <-f.context.Done():
			return context.Cause(f.context)
		}
	}
	t = f.addTask(0, id)
	f.mu.Unlock()
	err := t.run(f.context)
	f.finish(t, err)
	return t.err
}
