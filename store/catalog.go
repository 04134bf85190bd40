package store

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// catalog holds the records of one kind in memory, with their times of use. Readers do not access the database.
//
// The invariant: everything in it has a record. Entries are immutable except for their times of use. Code that changes
// records must hold records.changing from before the record is written until the catalog is updated.
type catalog[K comparable, R bundleRecord | derivedRecord] struct {
	mu      sync.RWMutex
	entries map[K]*entry[R]
	changes int64 // counts changes after which another eviction pass may free more
}

// entry is one record with its name.
type entry[R bundleRecord | derivedRecord] struct {
	key    string // in meta
	record R
	used   atomic.Int64 // seconds since 1970
	dirty  atomic.Bool  // used is not saved yet
}

func newEntry[R bundleRecord | derivedRecord](key string, record R, used int64) *entry[R] {
	e := &entry[R]{key: key, record: record}
	e.used.Store(used)
	return e
}

// touch records a use.
func (e *entry[R]) touch(now time.Time) {
	if used := now.Unix(); e.used.Load() != used {
		e.used.Store(used)
		e.dirty.Store(true)
	}
}

func (e *entry[R]) usedAt() time.Time { return time.Unix(e.used.Load(), 0).UTC() }

// get returns an entry, nil if there is none.
func (c *catalog[K, R]) get(name K) *entry[R] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[name]
}

// each calls do for every entry, in no particular order. do must not change the catalog.
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

// fill replaces all entries.
func (c *catalog[K, R]) fill(entries map[K]*entry[R]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = entries
}

// change calls do to change the entries.
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

// unwritten adds the times of use that are not saved yet to put, by the keys of their records, and marks them as saved.
func (c *catalog[K, R]) unwritten(put map[string][]byte) {
	c.each(func(_ K, e *entry[R]) {
		if e.dirty.Swap(false) {
			put[e.key] = countPayload(uint64(e.used.Load()))
		}
	})
}

func countPayload(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeCount(payload []byte) uint64 { return binary.BigEndian.Uint64(payload) }
