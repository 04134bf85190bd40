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

// maxAhead bounds how many bundles wait to be filled ahead. The oldest are dropped: devices ask for the newest, and
// what is dropped is fetched when somebody asks.
const maxAhead = 4096

// A bundle that cannot be filled ahead is tried again after aheadPause, then each time after twice as long, aheadTries
// times in all: for about two minutes, in which those who have it come up or somebody looks after them.
const (
	aheadPause = time.Second
	aheadTries = 8
)

// Progress tells how far filling ahead has come.
type Progress struct {
	Missing int   `json:"missing"` // bundles that wait, or are being filled
	Filled  int64 `json:"filled"`  // bundles, since the start
	Failed  int64 `json:"failed"`  // bundles that were given up
	Bytes   int64 `json:"bytes"`   // that came, encoded
}

// ahead is what is to be filled before anybody asks for it.
type ahead struct {
	jitter  time.Duration
	limiter *rate.Limiter // nil: no bound
	wake    chan struct{}

	mu       sync.Mutex
	queue    []waiting // the last one is wanted most
	working  bool
	progress Progress
	waiters  map[digest.Digest][]chan error // of those that FillAhead waits for; each has room for one
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
		// A second's worth at a time, and a chunk at least.
		burst := max(bundle.MaxChunk, min(batchBytes, config.Rate))
		a.limiter = rate.NewLimiter(rate.Limit(config.Rate), int(burst))
	}
}

// burst bounds a batch that is fetched ahead, in bytes.
func (a *ahead) burst() int64 {
	if a.limiter == nil {
		return batchBytes
	}
	return int64(a.limiter.Burst())
}

// pay waits until the rate allows so many bytes more, or until somebody waits for the task.
func (a *ahead) pay(ctx context.Context, t *task, size int64) error {
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

// Ahead has bundles filled before anybody asks for them: the newest call first, and of one call the first bundle first.
// One that waits already moves to the front; one that is complete costs a look at the store. It does not block.
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
	a.rouse()
}

// FillAhead is Ahead for one bundle, and returns when it is complete or was given up. It is for who has something older
// to go on with meanwhile: the rate holds for it, as long as nobody calls Fill. ctx ends the wait alone.
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
		f.ahead.forget(id, done)
		return fmt.Errorf("fill bundle %s ahead: %w", id.Short(), err)
	}
	return nil
}

// forget takes out one who waits no longer.
func (a *ahead) forget(id digest.Digest, done chan error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := slices.DeleteFunc(a.waiters[id], func(c chan error) bool { return c == done })
	if a.waiters[id] = left; len(left) == 0 {
		delete(a.waiters, id)
	}
}

// tell wakes those who wait for a bundle. The caller holds mu.
func (a *ahead) tell(id digest.Digest, err error) {
	for _, done := range a.waiters[id] {
		done <- err
	}
	delete(a.waiters, id)
}

// Progress returns how far filling ahead has come.
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

// push enters a bundle as the one that is wanted most. The caller holds mu.
func (a *ahead) push(w waiting) {
	a.queue = slices.DeleteFunc(a.queue, func(other waiting) bool { return other.id == w.id })
	a.queue = append(a.queue, w)
	if len(a.queue) > maxAhead {
		dropped := a.queue[:len(a.queue)-maxAhead]
		for _, w := range dropped {
			a.tell(w.id, ErrBusy)
		}
		a.queue = slices.Delete(a.queue, 0, len(dropped))
	}
}

func (a *ahead) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// take removes what is wanted most of all that is due. When nothing is, it returns when something will be.
func (a *ahead) take(now time.Time) (w waiting, found bool, wait time.Duration) {
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

// settle takes note of how it went. What failed waits at the end of the queue for another time.
func (a *ahead) settle(w waiting, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working = false
	if err == nil {
		a.progress.Filled++
		a.tell(w.id, nil)
		return
	}
	if w.tries++; w.tries == aheadTries {
		a.progress.Failed++
		a.tell(w.id, err)
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

// fillAhead works on one bundle after the other until the Filler is closed. It takes no slot: those are for bundles
// that somebody waits for.
func (f *Filler) fillAhead() {
	for {
		w, found, wait := f.ahead.take(time.Now())
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
			f.config.Logger.Debug("bundle not filled ahead", "bundle", w.id.Short(), "reason", err)
		}
		f.ahead.settle(w, err)
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
	t = f.start(0, id)
	f.mu.Unlock()
	err := t.run(f.context)
	f.finish(t, err)
	return t.err
}
