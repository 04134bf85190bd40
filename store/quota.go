package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// quota counts bytes: those that blobs take, and those that were promised to somebody who is going to write. It also
// watches the disk, because a promise that the disk cannot keep ends in a crash, see Config.MinFree.
type quota struct {
	dir       string
	limit     int64 // bytes
	high, low int64 // bytes: eviction begins above the first and ends below the second
	minFree   int64
	freeSpace func(dir string) (uint64, error)
	log       *slog.Logger
	// evict makes room, see evictor.evict.
	evict func(ctx context.Context, n int64, scope evictScope) error
	// preempt ends the writes of derived content under way, see derived.preempt.
	preempt func(ctx context.Context)

	mu       sync.Mutex
	stored   int64
	count    int64         // blobs
	reserved int64         // promised and not yet written
	bundles  int           // reservations for bundles under way
	made     chan struct{} // closed when bundles is 0 again; nil before the first

	turn   chan struct{} // holds one: of the bundles
	reason string        // why the store is read-only; empty when it is not
}

// evictPasses bounds how often a bundle has room made.
const evictPasses = 3

// reserve promises n bytes. It evicts what the scope allows when they would go above the high watermark. It returns
// ErrQuota, or ErrReadOnly. What was promised must be given back with release, or become bytes with settle.
//
// Bundles make room one after the other, so that none takes what was made for another. Derived content waits meanwhile,
// and does not use the last of the quota.
func (q *quota) reserve(ctx context.Context, n int64, scope evictScope) error {
	if err := q.writable(n); err != nil {
		return err
	}
	limit := q.high
	if scope == evictAll {
		limit = q.limit
		done, err := q.makeRoom(ctx)
		if err != nil {
			return err
		}
		defer done()
	} else if err := q.waitForBundles(ctx); err != nil {
		return err
	}
	if q.take(n, q.high) {
		return nil
	}
	if n > q.limit {
		return fmt.Errorf("%w: %d bytes wanted, the quota is %d", ErrQuota, n, q.limit)
	}
	// A pass keeps what was pinned while it ran. That may have been let go of meanwhile, and derived content that is being
	// written, which is pinned as well, does not keep a bundle out.
	for range evictPasses {
		if err := q.evict(ctx, n, scope); err != nil {
			return err
		}
		if q.take(n, limit) {
			return nil
		}
		if scope != evictAll {
			break
		}
		q.preempt(ctx)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Errorf("%w: %d bytes wanted, %d of %d are used and %d promised", ErrQuota, n, q.stored, q.limit, q.reserved)
}

// makeRoom waits until no other bundle makes room, and has derived content wait until done is called.
func (q *quota) makeRoom(ctx context.Context) (done func(), err error) {
	q.mu.Lock()
	if q.bundles == 0 {
		q.made = make(chan struct{})
	}
	q.bundles++
	q.mu.Unlock()
	leave := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.bundles--; q.bundles == 0 {
			close(q.made)
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
	waiting, made := q.bundles > 0, q.made
	q.mu.Unlock()
	if !waiting {
		return nil
	}
	select {
	case <-made:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *quota) take(n, limit int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stored+q.reserved+n > limit {
		return false
	}
	q.reserved += n
	return true
}

// release gives n promised bytes back.
func (q *quota) release(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reserved -= n
}

// grow accounts for blobs that were written, or with negative numbers removed.
func (q *quota) grow(bytes, blobs int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stored += bytes
	q.count += blobs
}

// over is how many bytes would have to go so that at most target are stored or promised.
func (q *quota) over(target int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stored + q.reserved - target
}

// writable looks at the disk and returns ErrReadOnly when writing n more bytes, after all that was promised, would
// leave less than the margin free.
func (q *quota) writable(n int64) error {
	free, err := q.freeSpace(q.dir)
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.reason
	switch want := q.minFree + q.reserved + n; {
	case err != nil:
		q.reason = err.Error()
	case free < uint64(want):
		q.reason = fmt.Sprintf("disk of %s has %d bytes free, %d are wanted: %d to keep free, %d to write",
			q.dir, free, want, q.minFree, want-q.minFree)
	default:
		q.reason = ""
	}
	switch {
	case before == "" && q.reason != "":
		q.log.Error("store is read-only", "reason", q.reason)
	case before != "" && q.reason == "":
		q.log.Info("store can be written again", "free", free)
	}
	if q.reason != "" {
		return fmt.Errorf("%w: %s", ErrReadOnly, q.reason)
	}
	return nil
}

// roomForUpkeep reports whether the disk has room for small writes of our own: deletions, times of use, compaction.
func (q *quota) roomForUpkeep() bool { return q.roomFor(q.minFree / 2) }

// room reports whether the disk has n bytes left, and room for upkeep.
func (q *quota) room(n int64) bool { return q.roomForUpkeep() && q.roomFor(n) }

// roomFor reports whether the disk has n bytes left, at least.
func (q *quota) roomFor(n int64) bool {
	free, err := q.freeSpace(q.dir)
	return err == nil && free >= uint64(n)
}

// readOnly returns why the store is read-only, or nothing when it is not.
func (q *quota) readOnly() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reason
}

// blobs is how many there are.
func (q *quota) blobs() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}
