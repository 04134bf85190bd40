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

// Priority says what wants a representation.
type Priority int

const (
	// Asked is for what a request would have liked. Anybody can send requests, so it waits for all else, has a bound of
	// its own, and what it may cost is limited.
	Asked Priority = iota
	// Planned is for what follows from a manifest in force.
	Planned
	// Urgent is for what a publisher waits for. It must not queue behind the encodings of releases before.
	Urgent
)

// Bounds of what requests can have made.
const (
	// maxAskedQueue bounds what waits because of requests. It leaves most of maxQueued to what is planned.
	maxAskedQueue = 256
	// askedBurst and askedRate bound the plain bytes, old and new, of the patches that requests have made: a burst, and
	// bytes a second after it. Making a patch takes about 50 s of a processor for each GB, so they may keep a processor
	// busy for about 100 s, and for 3 % of the time after that.
	askedBurst = 2 << 30
	askedRate  = askedBurst / 3600
	// failureLasts is how long a representation that cannot be made is not tried again for requests.
	failureLasts = 10 * time.Minute
	maxFailures  = 4096
)

// making is a representation that is being made, or waits for its turn.
type making struct {
	ready   chan struct{} // closed when it is made, or cannot be
	sharing bool          // other nodes are asked for it, before it is made here
	// priority only rises. raise ends the wait in the queue of requests when it does.
	priority Priority
	raise    context.CancelFunc
}

// allowance is a token bucket of bytes.
type allowance struct {
	left float64 // below the burst; guarded by the user's lock
	last time.Time
}

// take takes n bytes, if there are so many. One of more than the burst is taken from a full bucket.
func (a *allowance) take(n int64, now time.Time) bool {
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

// refused reports whether something that a request asks for is not to be made: it could not be made lately, too much
// waits, or patches have cost enough. The caller holds mu.
func (b *Builder) refused(d Derivation) bool {
	now := b.Now()
	if until, failed := b.failed[d.Key()]; failed && now.Before(until) {
		return true
	}
	if b.queued >= maxAskedQueue {
		return true
	}
	return d.Coding == semantics.DCZ && !b.budget.take(d.Size+d.Base.Size, now)
}

// failing notes that a representation could not be made. The caller holds mu.
func (b *Builder) failing(key store.DerivedKey) {
	if len(b.failed) >= maxFailures {
		clear(b.failed) // they bound what is tried again, which this does too
	}
	b.failed[key] = b.Now().Add(failureLasts)
}

// turn waits until a representation may be made, and returns what gives the turn back. What was asked for by requests
// holds one of the slots that all share, and the one there is for its kind: patches take long, and nothing else of
// requests is to wait for them.
func (b *Builder) turn(ctx, waiting context.Context, m *making, d Derivation) (leave func(), err error) {
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

func (b *Builder) priorityOf(m *making) Priority {
	b.mu.Lock()
	defer b.mu.Unlock()
	return m.priority
}

// Add has a representation taken from another node, or made here, unless it is there or is being made, and returns a
// channel that is closed when there is nothing more to wait for.
func (b *Builder) Add(d Derivation, p Priority) <-chan struct{} {
	return b.begin(d, p, true)
}

// begin is Add. Without share it is made here, without asking other nodes for it.
func (b *Builder) begin(d Derivation, p Priority, share bool) <-chan struct{} {
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
	m := &making{ready: make(chan struct{}), sharing: share, priority: p, raise: raise}
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

// Wait returns once nothing is being built, and nothing waits for its turn.
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

// run takes a representation from another node, or makes it.
func (b *Builder) run(waiting context.Context, m *making, d Derivation, share bool) {
	ctx, key := b.Context, d.Key()
	if share {
		p := b.priorityOf(m)
		taken := b.share.take(ctx, d, p)
		b.mu.Lock()
		m.sharing = false
		if taken && p == Asked && d.Coding == semantics.DCZ {
			b.budget.left += float64(d.Size + d.Base.Size) // it was not made here
		}
		b.mu.Unlock()
		if taken {
			return
		}
	}
	// A patch is measured by what devices get without it. Of an archive that is being made anyway, and may take long.
	if d.Coding == semantics.DCZ && !d.IsArchive() {
		<-b.begin(Derivation{Subject: d.Subject, Coding: semantics.Zstd}, b.priorityOf(m), share)
	}
	leave, err := b.turn(ctx, waiting, m, d)
	if err != nil {
		return
	}
	defer leave()
	b.mu.Lock()
	b.failing(key) // unless it comes back
	b.mu.Unlock()
	if b.make(ctx, d) {
		b.mu.Lock()
		delete(b.failed, key)
		b.mu.Unlock()
	}
}

// checkBase returns nil unless the archive that a patch is to be made against is not what it is said to be, or, if it
// has to be here, is not here. Manifests say what they like of bundles that are not here.
func (b *Builder) checkBase(d Derivation, here bool) error {
	if d.Coding != semantics.DCZ || !d.Base.IsArchive() {
		return nil
	}
	info, found := b.Store.Info(d.Base.Bundle)
	if !found {
		if here {
			return fmt.Errorf("base of the patch: bundle %s: %w", d.Base.Bundle.Short(), store.ErrNotFound)
		}
		return nil
	}
	if info.SHA256 != d.Base.Name || info.Size != d.Base.Size {
		return fmt.Errorf("base of the patch: bundle %s is not the one that was described", d.Base.Bundle.Short())
	}
	return nil
}

// queue is the state of what waits to be made.
type queue struct {
	// slots are how many representations are made at the same time. urgent is one more, for publishers.
	slots, urgent *semaphore.Weighted
	// askedPatch and askedOther are how many of those are made for requests.
	askedPatch, askedOther *semaphore.Weighted

	mu      sync.Mutex // guards the rest
	running map[store.DerivedKey]*making
	queued  int // of running, for requests
	failed  map[store.DerivedKey]time.Time
	budget  allowance
}

func newQueue(slots int) queue {
	return queue{
		slots:      semaphore.NewWeighted(int64(slots)),
		urgent:     semaphore.NewWeighted(1),
		askedPatch: semaphore.NewWeighted(1),
		askedOther: semaphore.NewWeighted(1),
		running:    map[store.DerivedKey]*making{},
		failed:     map[store.DerivedKey]time.Time{},
	}
}
