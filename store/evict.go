package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"brink/digest"
)

// evictScope is what eviction may remove.
type evictScope int

const (
	evictUnreferenced evictScope = iota // blobs that no record refers to
	evictDerived                        // and derived objects
	evictAll                            // and bundles that no channel needs
)

// evictor removes the least valuable data. The invariant: a blob is removed only if no record refers to it and it is
// not pinned, and the record of a bundle only if no channel needs it and it is not pinned.
type evictor struct {
	records *records
	blobs   *blobs
	quota   *quota
	pins    *pins
	bundles *bundles
	derived *derived
	signed  *signed
	keep    int // releases, see Config.KeepReleases
	log     *slog.Logger
	closing context.Context // done when Close of the store starts

	sweeping sync.Mutex // held during a pass
	barren   [evictAll + 1]barren

	reclaimWanted            chan struct{} // capacity 1
	bundlesGone, derivedGone atomic.Int64
}

// evict removes the least valuable data until n more bytes fit below the low watermark, or at least below the quota. If
// even the latter is impossible, it removes only unreferenced blobs, rather than emptying the store for something that
// does not fit. It does nothing if n more bytes already fit below the high watermark.
//
// It uses mark and sweep. Reference counts would have to survive crashes, and a wrong one would lose a chunk or retain
// it forever. See pins for concurrent ingests.
func (e *evictor) evict(ctx context.Context, n int64, scope evictScope) error {
	e.sweeping.Lock()
	defer e.sweeping.Unlock()
	q := e.quota
	if q.over(q.high-n) <= 0 {
		return nil // another call has made room
	}
	wanted, needed := q.over(q.low-n), q.over(q.limit-n)
	generation := e.generation()
	if b := e.barren[scope]; b.generation == generation && needed >= b.needed {
		return nil
	}
	freed, err := e.collect(ctx, wanted, needed, scope)
	if freed == 0 && err == nil {
		e.barren[scope] = barren{generation: generation, needed: needed}
	}
	return err
}

// barren records a pass that removed nothing, so that it is not repeated before something has changed.
type barren struct{ generation, needed int64 }

// evictGarbage removes all unreferenced blobs, and returns the number of freed bytes.
func (e *evictor) evictGarbage(ctx context.Context) (freed int64, err error) {
	e.sweeping.Lock()
	defer e.sweeping.Unlock()
	return e.collect(ctx, 1, 1, evictUnreferenced)
}

// collect removes wanted bytes, or at least needed, and returns how many it removed. The caller must hold sweeping.
func (e *evictor) collect(ctx context.Context, wanted, needed int64, scope evictScope) (freed int64, err error) {
	ctx, cancel := bounded(ctx, e.closing)
	defer cancel()
	e.pins.startSweep()
	defer e.pins.finishSweep()
	plan, err := e.plan(ctx, scope)
	if err != nil {
		return 0, err
	}
	last := plan.choose(wanted, needed)
	kept, err := e.removeRecords(ctx, plan.victims[:last])
	if err != nil {
		return 0, err
	}
	for _, v := range kept {
		if err := e.refs(ctx, v, func(d digest.Digest) { plan.mark(d, live) }); err != nil {
			return 0, err
		}
	}
	if freed, err = e.sweep(ctx, plan, last); freed > 0 {
		e.wakeReclaim()
	}
	return freed, err
}

// generation changes whenever something may have become evictable.
func (e *evictor) generation() int64 {
	changes := e.bundles.catalog.generation() + e.derived.catalog.generation() + e.signed.generation()
	e.pins.mu.Lock()
	defer e.pins.mu.Unlock()
	return 1 + changes + e.pins.releases // differs from the zero value of barren; all terms only increase
}

// removeRecords removes the records of the victims. It returns those that it did not remove, because they are needed
// now or were replaced.
func (e *evictor) removeRecords(ctx context.Context, victims []victim) (kept []victim, err error) {
	const batch = 256 // records in a transaction
	for some := range slices.Chunk(victims, batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		stay, err := e.removeSome(some)
		if err != nil {
			return nil, err
		}
		kept = append(kept, stay...)
	}
	return kept, nil
}

func (e *evictor) removeSome(victims []victim) (kept []victim, err error) {
	e.records.changing.Lock()
	defer e.records.changing.Unlock()
	needed := e.signed.needed(e.keep)
	var c change
	gone := make(map[digest.Digest]bool)
	var names []string
	for _, v := range victims {
		switch {
		case v.derived != nil && e.derived.catalog.get(v.name) == v.derived:
			names = append(names, v.name)
			c.remove = append(c.remove, v.derived.key, usedKind+v.derived.key)
		case v.bundle != nil && e.bundles.catalog.get(v.id) == v.bundle && !needed[v.id] && !e.pins.has(v.id):
			gone[v.id] = true
			c.remove = append(c.remove, v.bundle.key, usedKind+v.bundle.key, intentKind+v.id.String())
		default:
			kept = append(kept, v)
		}
	}
	if len(c.remove) == 0 {
		return kept, nil
	}
	if err := e.records.acknowledge(c); err != nil {
		return nil, err
	}
	e.derived.catalog.change(func(entries map[string]*entry[derivedRecord]) {
		for _, name := range names {
			delete(entries, name)
		}
	})
	e.bundles.catalog.change(func(entries map[digest.Digest]*entry[bundleRecord]) {
		maps.DeleteFunc(entries, func(id digest.Digest, _ *entry[bundleRecord]) bool { return gone[id] })
	})
	e.derivedGone.Add(int64(len(names)))
	e.bundlesGone.Add(int64(len(gone)))
	return kept, nil
}

// sweep removes the garbage of the plan that is not pinned, and returns the number of freed bytes.
func (e *evictor) sweep(ctx context.Context, p *plan, victims int) (freed int64, err error) {
	const window, batch = 8192, 256 // blobs listed at once, and removed in one transaction
	var first digest.Digest
	for more := true; more; {
		var garbage []digest.Digest
		more = false
		seen := 0
		err := e.blobs.each(ctx, first, func(d digest.Digest, _ int64) bool {
			if seen == window {
				first, more = d, true
				return false
			}
			seen++
			if p.garbage(d, victims) {
				garbage = append(garbage, d)
			}
			return true
		})
		if err != nil {
			return freed, err
		}
		for some := range slices.Chunk(garbage, batch) {
			n, err := e.blobs.remove(some)
			freed += n
			if err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

// wakeReclaim notifies reclaim. It does not block.
func (e *evictor) wakeReclaim() {
	select {
	case e.reclaimWanted <- struct{}{}:
	default:
	}
}

// reclaim frees disk space whenever a sweep has removed something, until ctx is done.
func (e *evictor) reclaim(ctx context.Context) {
	failing := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.reclaimWanted:
		}
		err := e.blobs.db.Reclaim(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && err.Error() != failing:
			failing = err.Error()
			e.log.Warn("cannot free disk space", "reason", err)
		case err == nil && failing != "":
			failing = ""
			e.log.Info("disk space can be freed again")
		}
	}
}
