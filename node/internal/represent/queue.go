package represent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"brink/node/internal/semantics"
	"brink/store"
)

// Priority is why a representation is built.
type Priority int

const (
	// Asked is for representations that a request would have preferred. Anybody can send requests, so they have the
	// lowest priority, a queue with its own bound, and a limited budget.
	Asked Priority = iota
	// Planned is for representations of releases in force.
	Planned
	// Urgent is for representations that a publisher waits for. They must not queue behind those of earlier releases.
	Urgent
)

// Bounds of the builds that requests can cause.
const (
	// maxAskedQueue bounds the jobs that requests have queued. It leaves most of maxQueued to planned ones.
	maxAskedQueue = 256
	// askedBurst and askedRate bound the plain bytes, old and new, of the patches that requests have built: a burst, and
	// then bytes per second. Building a patch takes about 50 s of a processor for each GB, so requests may keep a
	// processor busy for about 100 s, and then for 3 % of the time.
	askedBurst = 2 << 30
	askedRate  = askedBurst / 3600
	// failureLasts is how long a build that failed is not tried again for requests.
	failureLasts = 10 * time.Minute
	maxFailures  = 4096
)

// job is a representation that is being built, or waits in the queue.
type job struct {
	ready   chan struct{} // closed when the job has ended, successful or not
	sharing bool          // other nodes are being asked for it, before it is built here
	// priority only rises. raise ends the wait in the queue of requests when it does.
	priority Priority
	raise    context.CancelFunc
}

// tokenBucket is a token bucket of bytes.
type tokenBucket struct {
	left float64 // below the burst; guarded by the user's lock
	last time.Time
}

// spend removes n bytes from the bucket, and reports whether it had that many. More than a burst empties a full bucket.
func (a *tokenBucket) spend(n int64, now time.Time) bool {
	if a.last.IsZero() {
		a.left = askedBurst
	} else if passed := now.Sub(a.last); passed > 0 {
		a.left = min(askedBurst, a.left+passed.Seconds()*askedRate)
	}
	a.last = now
	if a.left < float64(min(n, askedBurst)) {
		return false
	}
	a.left -= float64(n)
	return true
}

// refused reports whether a request must not cause d to be built: a recent build of it failed, the queue of requests is
// full, or the budget for patches is spent. The caller holds mu.
func (b *Builder) refused(d Derivation) bool {
	now := b.Now()
	if until, failed := b.failed[d.Key()]; failed && now.Before(until) {
		return true
	}
	if b.queued >= maxAskedQueue {
		return true
	}
	return d.Coding == semantics.DCZ && !b.budget.spend(d.Size+d.Base.Size, now)
}

// recordFailure records that a representation could not be built. The caller holds mu.
func (b *Builder) recordFailure(key store.DerivedKey) {
	if len(b.failed) >= maxFailures {
		clear(b.failed) // at most this many builds are tried again too early
	}
	b.failed[key] = b.Now().Add(failureLasts)
}

// acquireSlot waits until a representation may be built, and returns a function that releases the slot. A job of a
// request needs one of the common slots, and the single slot of its kind: patches take long, and other jobs of requests
// must not wait for them.
func (b *Builder) acquireSlot(ctx, waiting context.Context, m *job, d Derivation) (release func(), err error) {
	kind := b.askedOther
	if d.Coding == semantics.DCZ {
		kind = b.askedPatch
	}
	p := b.priorityOf(m)
	if p == Asked {
		if err = kind.Acquire(waiting, 1); err == nil {
			if err = b.slots.Acquire(waiting, 1); err == nil {
				return func() { b.slots.Release(1); kind.Release(1) }, nil
			}
			kind.Release(1)
		}
		if p = b.priorityOf(m); p == Asked || ctx.Err() != nil {
			return nil, err
		}
	}
	slots := b.slots
	if p == Urgent {
		slots = b.urgent
	}
	if err := slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { slots.Release(1) }, nil
}

func (b *Builder) priorityOf(m *job) Priority {
	b.mu.Lock()
	defer b.mu.Unlock()
	return m.priority
}

// Add queues a representation to be fetched from another node, or built here, unless it exists or is queued already. It
// returns a channel that is closed when there is nothing more to wait for.
func (b *Builder) Add(d Derivation, p Priority) <-chan struct{} {
	return b.start(d, p, true)
}

// start is Add. Without share it is built here, without asking other nodes for it.
func (b *Builder) start(d Derivation, p Priority, share bool) <-chan struct{} {
	key := d.Key()
	b.mu.Lock()
	defer b.mu.Unlock()
	if m, running := b.running[key]; running {
		if p > m.priority {
			m.priority = p
			m.raise()
		}
		return m.ready
	}
	if len(b.running) >= maxQueued || b.Context.Err() != nil {
		return done
	}
	if _, err := b.Store.Derived(key); err == nil {
		return done
	}
	if p == Asked && b.refused(d) || b.checkBase(d, false) != nil {
		return done
	}
	waiting, raise := context.WithCancel(b.Context)
	m := &job{ready: make(chan struct{}), sharing: share, priority: p, raise: raise}
	b.running[key] = m
	if p == Asked {
		b.queued++
	}
	b.Work.Go(func() {
		defer func() {
			raise()
			b.mu.Lock()
			delete(b.running, key)
			if p == Asked {
				b.queued--
			}
			b.mu.Unlock()
			close(m.ready)
		}()
		b.run(waiting, m, d, share)
	})
	return m.ready
}

// Wait returns once nothing is being built or queued.
func (b *Builder) Wait() {
	for {
		b.mu.Lock()
		var one <-chan struct{}
		for _, m := range b.running {
			one = m.ready
			break
		}
		b.mu.Unlock()
		if one == nil {
			return
		}
		<-one
	}
}

// run fetches a representation from another node, or builds it.
func (b *Builder) run(waiting context.Context, m *job, d Derivation, share bool) {
	ctx, key := b.Context, d.Key()
	if share {
		p := b.priorityOf(m)
		finished := b.share.fetch(ctx, d, p)
		b.mu.Lock()
		m.sharing = false
		if finished && p == Asked && d.Coding == semantics.DCZ {
			b.budget.left += float64(d.Size + d.Base.Size) // it was not built here
		}
		b.mu.Unlock()
		if finished {
			return
		}
	}
	// encodePatch compares the patch of a file with its zstd form. That of an archive is queued anyway, and may take
	// long.
	if d.Coding == semantics.DCZ && !d.IsArchive() {
		<-b.start(Derivation{Subject: d.Subject, Coding: semantics.Zstd}, b.priorityOf(m), share)
	}
	release, err := b.acquireSlot(ctx, waiting, m, d)
	if err != nil {
		return
	}
	defer release()
	b.mu.Lock()
	b.recordFailure(key) // now, in case build panics
	b.mu.Unlock()
	if b.build(ctx, d) {
		b.mu.Lock()
		delete(b.failed, key)
		b.mu.Unlock()
	}
}

// checkBase returns an error if the archive that a patch is built against is not as described, or if it is required and
// not here. A manifest may describe a bundle that is not here in any way.
func (b *Builder) checkBase(d Derivation, required bool) error {
	if d.Coding != semantics.DCZ || !d.Base.IsArchive() {
		return nil
	}
	info, found := b.Store.Info(d.Base.Bundle)
	if !found {
		if required {
			return fmt.Errorf("base of the patch: bundle %s: %w", d.Base.Bundle.Short(), store.ErrNotFound)
		}
		return nil
	}
	if info.SHA256 != d.Base.Name || info.Size != d.Base.Size {
		return fmt.Errorf("base of the patch: bundle %s differs from its description in the manifest",
			d.Base.Bundle.Short())
	}
	return nil
}

// queue is the state of all jobs.
type queue struct {
	// slots bounds the representations that are built at the same time. urgent is one more slot, for publishers.
	slots, urgent *semaphore.Weighted
	// askedPatch and askedOther bound those of them that are built for requests.
	askedPatch, askedOther *semaphore.Weighted

	mu      sync.Mutex // guards the rest
	running map[store.DerivedKey]*job
	queued  int // of running, for requests
	failed  map[store.DerivedKey]time.Time
	budget  tokenBucket
}

func newQueue(slots int) queue {
	return queue{
		slots:      semaphore.NewWeighted(int64(slots)),
		urgent:     semaphore.NewWeighted(1),
		askedPatch: semaphore.NewWeighted(1),
		askedOther: semaphore.NewWeighted(1),
		running:    map[store.DerivedKey]*job{},
		failed:     map[store.DerivedKey]time.Time{},
	}
}
