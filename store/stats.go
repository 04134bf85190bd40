package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Stats are the statistics of a store. Counters start at zero when the store is opened, unless documented otherwise.
type Stats struct {
	Bundles        int       `json:"bundles"`
	Derived        int       `json:"derived"`
	Blobs          int64     `json:"blobs"`
	Stored         int64     `json:"stored"`   // bytes that count against the quota
	Reserved       int64     `json:"reserved"` // bytes reserved for writes
	Quota          int64     `json:"quota"`
	Disk           int64     `json:"disk"` // bytes on disk that the folder occupies
	Free           uint64    `json:"free"` // free bytes on disk
	ReadOnly       string    `json:"readOnly,omitempty"`
	Damaged        int64     `json:"damaged"`              // quarantined blobs
	Quarantine     []Damage  `json:"quarantine,omitempty"` // including those of earlier runs
	BadRecords     int64     `json:"badRecords"`
	EvictedBundles int64     `json:"evictedBundles"`
	EvictedDerived int64     `json:"evictedDerived"`
	EvictedBlobs   int64     `json:"evictedBlobs"`
	EvictedBytes   int64     `json:"evictedBytes"`
	Rewritten      int64     `json:"rewritten"`          // files of the value log
	Poisoned       bool      `json:"poisoned,omitempty"` // disk space cannot be freed before a restart
	Scrubbed       time.Time `json:"scrubbed,omitzero"`  // start of the last complete scrub
}

// Stats returns the current statistics. It examines the files of the folder, a few dozen per GB.
func (s *Store) Stats() (Stats, error) {
	var stats Stats
	stats.Bundles, stats.Derived = s.bundles.catalog.size(), s.derived.catalog.size()
	s.quota.mu.Lock()
	stats.Blobs, stats.Stored, stats.Reserved = s.quota.count, s.quota.stored, s.quota.reserved
	stats.Quota, stats.ReadOnly = s.quota.limit, s.quota.reason
	s.quota.mu.Unlock()
	stats.Damaged, stats.Quarantine = s.sick.damaged()
	stats.BadRecords = s.records.bad.Load()
	stats.EvictedBundles, stats.EvictedDerived = s.evictor.bundlesGone.Load(), s.evictor.derivedGone.Load()
	stats.EvictedBlobs, stats.EvictedBytes = s.blobs.evictedBlobs.Load(), s.blobs.evictedBytes.Load()
	stats.Rewritten = s.blobs.db.Rewritten()
	stats.Poisoned = s.Poisoned()
	stats.Scrubbed = s.scrubber.passed()
	var err error
	if stats.Disk, err = diskBlocks(s.config.Dir); err != nil {
		return stats, fmt.Errorf("disk usage: %w", err)
	}
	stats.Free, err = s.config.FreeSpace(s.config.Dir)
	return stats, err
}

// ReadOnly returns why the store is read-only, empty if it is not.
func (s *Store) ReadOnly() string { return s.quota.readOnly() }

// Poisoned reports whether a read has failed in such a way that no disk space can be freed before a restart.
func (s *Store) Poisoned() bool { return s.blobs.db.Poisoned() || s.records.db.Poisoned() }

func encodeDamage(list []Damage) []byte {
	payload, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("store: encode damage: %v", err)) // structs of strings and times always encode
	}
	return payload
}

// diskBlocks returns how many bytes on disk the files below dir occupy. That is not the sum of their sizes: the logs
// are sparse files, twice as long as their maximum content.
func diskBlocks(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // it was removed in the meantime
		}
		if err == nil {
			total += allocated(info)
		}
		return err
	})
	return total, err
}
