package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"brink/channel"
	"brink/digest"
)

// catalog is what the records say, in memory: which bundles and derived objects there are, when they were last used,
// and which bundles the channels need. A reader finds everything here and touches no database.
type catalog struct {
	// mu guards the maps. An entry that is in one is immutable but for its time of use. Those who change records hold
	// Store.changing as well, from before the record is written until the map says so.
	mu      sync.RWMutex
	bundles map[digest.Digest]*entry[bundleRecord]
	derived map[string]*entry[derivedRecord]
	needs   map[string]needs // by app/channel
	dropped []string         // derived objects whose records are still to be removed
	blind   int              // manifests that can not be read, whose needs nobody knows
	changes int64            // counts what may make another eviction pass worth while
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

func (c *catalog) bundle(id digest.Digest) *entry[bundleRecord] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.bundles[id]
}

func (c *catalog) object(key string) *entry[derivedRecord] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.derived[key]
}

// change makes a change to the maps.
func (c *catalog) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	do()
}

// needed returns the bundles that the channels need, with keep releases before the one served.
func (c *catalog) needed(keep int) map[digest.Digest]bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make(map[digest.Digest]bool)
	for _, n := range c.needs {
		for _, id := range n.given {
			all[id] = true
		}
		for _, release := range n.before[:min(len(n.before), keep)] {
			for _, id := range release {
				all[id] = true
			}
		}
	}
	return all
}

// needs are the bundles that a channel manifest names: of its releases and of their attachments.
type needs struct {
	given  []digest.Digest   // to some device now
	before [][]digest.Digest // by release that was served, newest first
}

func needsOf(m *channel.Manifest) needs {
	n := needs{given: slices.Collect(m.Needs())}
	for i := range m.History {
		n.before = append(n.before, slices.Collect(m.History[i].Bundles()))
	}
	return n
}

// load reads all records.
func (s *Store) load() error {
	c := &s.catalog
	c.bundles = make(map[digest.Digest]*entry[bundleRecord])
	c.derived = make(map[string]*entry[derivedRecord])
	c.needs = make(map[string]needs)
	used := make(map[string]int64)
	err := s.records.each(usedKind, func(name string, payload []byte, err error) error {
		if err == nil && len(payload) == 8 {
			used[name] = int64(decodeCount(payload))
		}
		return nil
	})
	if err != nil {
		return err
	}
	bad := func(kind, name string, err error) {
		s.badRecords.Add(1)
		s.config.Logger.Error("record can not be read", "record", kind+name, "reason", err)
	}
	err = s.records.each(bundleKind, func(name string, payload []byte, err error) error {
		var id digest.Digest
		var record bundleRecord
		if err == nil {
			id, err = digest.Parse(name)
		}
		if err == nil {
			record, err = decodeRecord[bundleRecord](payload)
		}
		if err != nil {
			bad(bundleKind, name, err) // the next publish writes it anew
			return nil
		}
		key := bundleKind + name
		c.bundles[id] = newEntry(key, record, cmp.Or(used[key], record.CreatedAt))
		return nil
	})
	if err != nil {
		return err
	}
	err = s.records.each(derivedKind, func(name string, payload []byte, err error) error {
		var record derivedRecord
		if err == nil {
			record, err = decodeRecord[derivedRecord](payload)
		}
		if err != nil {
			bad(derivedKind, name, err)
			return nil
		}
		key := derivedKind + name
		c.derived[name] = newEntry(key, record, cmp.Or(used[key], record.CreatedAt))
		return nil
	})
	if err != nil {
		return err
	}
	return s.records.each(manifestKind, func(name string, payload []byte, err error) error {
		var m *channel.Manifest
		if err == nil {
			m, err = channel.ParseManifest(payload)
		}
		if err != nil {
			bad(manifestKind, name, err)
			c.blind++
			return nil
		}
		c.needs[name] = needsOf(m)
		return nil
	})
}

// keep writes what is worth keeping but was promised to nobody: times of use, what was set aside, what was dropped.
func (s *Store) keep() error {
	if !s.quota.roomForUpkeep() {
		return nil
	}
	put := make(map[string][]byte)
	s.catalog.mu.RLock()
	for _, e := range s.catalog.bundles {
		note(e, put)
	}
	for _, e := range s.catalog.derived {
		note(e, put)
	}
	s.catalog.mu.RUnlock()
	const batch = 4096 // a transaction has bounds
	keys := make([]string, 0, len(put))
	for key := range put {
		keys = append(keys, key)
	}
	for some := range slices.Chunk(keys, batch) {
		c := change{put: make(map[string][]byte, len(some))}
		for _, key := range some {
			c.put[usedKind+key] = put[key]
		}
		if err := s.records.keep(c); err != nil {
			return fmt.Errorf("write times of use: %w", err)
		}
	}
	if list, changed := s.sick.take(); changed {
		if err := s.records.keep(change{put: map[string][]byte{quarantineKind: encodeDamage(list)}}); err != nil {
			return fmt.Errorf("write quarantine: %w", err)
		}
	}
	return s.removeDropped()
}

func note[R bundleRecord | derivedRecord](e *entry[R], put map[string][]byte) {
	if e.dirty.Swap(false) {
		put[e.key] = countPayload(uint64(e.used.Load()))
	}
}

func countPayload(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeCount(payload []byte) uint64 { return binary.BigEndian.Uint64(payload) }
