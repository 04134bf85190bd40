package store

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// catalog is what the records of one kind say, in memory: what there is, and when it was last used. A reader finds
// everything here and touches no database.
//
// Its invariant: what is in it has a record. An entry in it is immutable but for its time of use. Those who change
// records hold records.changing as well, from before the record is written until the catalog says so.
type catalog[K comparable, R bundleRecord | derivedRecord] struct {
	mu      sync.RWMutex
	entries map[K]*entry[R]
	changes int64 // counts what may make another eviction pass worth while
}

// entry is one record with its name.
type entry[R bundleRecord | derivedRecord] struct {
	key    string // in meta
	record R
	used   atomic.Int64 // seconds since 1970
	dirty  atomic.Bool  // used was not yet written
}

func newEntry[R bundleRecord | derivedRecord](key string, record R, used int64) *entry[R] {
	e := &entry[R]{key: key, record: record}
	e.used.Store(used)
	return e
}

// touch notes a use.
func (e *entry[R]) touch(now time.Time) {
	if used := now.Unix(); e.used.Load() != used {
		e.used.Store(used)
		e.dirty.Store(true)
	}
}

func (e *entry[R]) usedAt() time.Time { return time.Unix(e.used.Load(), 0).UTC() }

// get returns nil for a name that is not there.
func (c *catalog[K, R]) get(name K) *entry[R] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[name]
}

// each calls do for every entry, in no order. do must not change the catalog.
func (c *catalog[K, R]) each(do func(name K, e *entry[R])) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, e := range c.entries {
		do(name, e)
	}
}

func (c *catalog[K, R]) size() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}

// fill puts entries in the place of all that there were.
func (c *catalog[K, R]) fill(entries map[K]*entry[R]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = entries
}

// change makes a change to the entries.
func (c *catalog[K, R]) change(do func(entries map[K]*entry[R])) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	do(c.entries)
}

// generation counts the changes.
func (c *catalog[K, R]) generation() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes
}

// unwritten adds the times of use that were not yet written to put, by the keys of the records. They count as written
// from then on.
func (c *catalog[K, R]) unwritten(put map[string][]byte) {
	c.each(func(_ K, e *entry[R]) {
		if e.dirty.Swap(false) {
			put[e.key] = countPayload(uint64(e.used.Load()))
		}
	})
}

func countPayload(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeCount(payload []byte) uint64 { return binary.BigEndian.Uint64(payload) }
