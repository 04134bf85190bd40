package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// quota counts the bytes of stored blobs and the bytes that are reserved for writes. It also checks the disk, because a
// reservation that exceeds the free space would cause a crash, see Config.MinFree.
type quota struct {
	dir       string
	limit     int64 // bytes
	high, low int64 // bytes: eviction starts above the first and stops below the second
	minFree   int64
	freeSpace func(dir string) (uint64, error)
	log       *slog.Logger
	// evict makes room, see evictor.evict.
	evict func(ctx context.Context, n int64, scope evictScope) error
	// preempt ends the writes of derived content in progress, see writing.preempt.
	preempt func(ctx context.Context)

	mu       sync.Mutex
	stored   int64
	count    int64         // blobs
	reserved int64         // not yet written
	bundles  int           // reservations for bundles in progress
	done     chan struct{} // closed when bundles is 0 again; nil before the first

	turn   chan struct{} // a lock of capacity 1, held by the bundle that makes room
	reason string        // why the store is read-only; empty if it is not
}

// evictPasses bounds how often room is made for one bundle.
const evictPasses = 3

// reserve reserves n bytes. If they would exceed the high watermark, it evicts what the scope allows. It returns
// ErrQuota, or ErrReadOnly. The caller must release the reservation, also after writing.
//
// Bundles make room one at a time, so that none takes the room made for another. Derived content waits meanwhile, and
// stays below the high watermark.
func (q *quota) reserve(ctx context.Context, n int64, scope evictScope) error {
	if err := q.writable(n); err != nil {
		return err
	}
	limit := q.high
	if scope == evictAll {
		limit = q.limit
		release, err := q.acquireTurn(ctx)
		if err != nil {
			return err
		}
		defer release()
	} else if err := q.waitForBundles(ctx); err != nil {
		return err
	}
	if q.tryReserve(n, q.high) {
		return nil
	}
	if n > q.limit {
		return fmt.Errorf("%w: %d bytes needed, the quota is %d", ErrQuota, n, q.limit)
	}
	// A pass skips what is pinned while it runs. Pins may have been released meanwhile, and derived content that is being
	// written, which is pinned too, must not keep a bundle out.
	for range evictPasses {
		if err := q.evict(ctx, n, scope); err != nil {
			return err
		}
		if q.tryReserve(n, limit) {
			return nil
		}
		if scope != evictAll {
			break
		}
		q.preempt(ctx)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("%w: %d bytes needed, %d of %d are used and %d reserved", ErrQuota, n, q.stored, q.limit, q.reserved)
}

// acquireTurn waits until no other bundle makes room. Derived content waits until release is called.
func (q *quota) acquireTurn(ctx context.Context) (release func(), err error) {
	q.mu.Lock()
	if q.bundles == 0 {
		q.done = make(chan struct{})
	}
	q.bundles++
	q.mu.Unlock()
	leave := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.bundles--; q.bundles == 0 {
			close(q.done)
		}
	}
	select {
	case q.turn <- struct{}{}:
		return func() { <-q.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// waitForBundles waits until no bundle makes room.
func (q *quota) waitForBundles(ctx context.Context) error {
	q.mu.Lock()
	waiting, done := q.bundles > 0, q.done
	q.mu.Unlock()
	if !waiting {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *quota) tryReserve(n, limit int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stored+q.reserved+n > limit {
		return false
	}
	q.reserved += n
	return true
}

// release releases a reservation of n bytes.
func (q *quota) release(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved -= n
}

// grow accounts for written blobs, or with negative numbers for removed ones.
func (q *quota) grow(bytes, blobs int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stored += bytes
	q.count += blobs
}

// over returns by how many bytes the stored and reserved bytes exceed target.
func (q *quota) over(target int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stored + q.reserved - target
}

// writable returns ErrReadOnly if writing n more bytes, in addition to all reservations, would leave less than the
// margin free on disk.
func (q *quota) writable(n int64) error {
	free, err := q.freeSpace(q.dir)
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.reason
	switch want := q.minFree + q.reserved + n; {
	case err != nil:
		q.reason = err.Error()
	case free < uint64(want):
		q.reason = fmt.Sprintf("disk of %s has %d bytes free, %d are needed: %d as margin, %d for writes",
			q.dir, free, want, q.minFree, want-q.minFree)
	default:
		q.reason = ""
	}
	switch {
	case before == "" && q.reason != "":
		q.log.Error("store is read-only", "reason", q.reason)
	case before != "" && q.reason == "":
		q.log.Info("store is writable again", "free", free)
	}
	if q.reason != "" {
		return fmt.Errorf("%w: %s", ErrReadOnly, q.reason)
	}
	return nil
}

// roomForUpkeep reports whether the disk has space for small internal writes: deletions, times of use, compaction.
func (q *quota) roomForUpkeep() bool { return q.roomFor(q.minFree / 2) }

// room reports whether the disk has n bytes free, and space for upkeep.
func (q *quota) room(n int64) bool { return q.roomForUpkeep() && q.roomFor(n) }

// roomFor reports whether the disk has at least n bytes free.
func (q *quota) roomFor(n int64) bool {
	free, err := q.freeSpace(q.dir)
	return err == nil && free >= uint64(n)
}

// readOnly returns why the store is read-only, or "" if it is not.
func (q *quota) readOnly() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reason
}

// blobs returns the number of blobs.
func (q *quota) blobs() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}
