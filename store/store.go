// Package store stores the data of a node: chunks, bundles, signed records, and content derived from them. It is
// content-addressed and uses one folder with two databases, see package database.
//
// The life of one bundle: [Store.Ingest] reserves space for missing chunks and pins the others, [Ingest.Put] verifies
// and stores one chunk after the other, and [Ingest.Commit] rebuilds the archive from them, compares it with the index,
// and makes the bundle durable. From then on [Store.Bundle] returns its index and [Store.Chunk] its bytes, verified
// each time they are read from disk. When space is needed, unreferenced blobs are evicted first, then derived content,
// then bundles that no channel manifest needs. Another ingest of a damaged bundle repairs it.
//
// The invariant: a byte that does not match its digest is never returned. All content is verified when it is stored and
// when it is read. A damaged blob is quarantined and reported as missing, so that it can be stored again. Whatever
// Commit, PutManifest, PutTrust or PutState has acknowledged survives kill -9 and power loss.
//
// Reads share no locks with writes except those inside the database. All methods are safe for concurrent use.
//
// The package is part of the node and not an API for other modules.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"brink/bundle"
	"brink/digest"
	"brink/store/internal/database"
)

// Store is an open data folder. Use [Open].
//
// Its state is in its parts, each with its own invariant. The Store itself owns the folder and the goroutines, and
// opens and closes the parts.
//
// Locks are acquired in this order: evictor.sweeping, those of an Ingest, records.changing, pins.mu, blobs.writing,
// others.
type Store struct {
	bundles
	derived
	signed
	states

	config   Config
	lock     *flock.Flock
	blobs    *blobs
	records  *records
	quota    *quota
	pins     *pins
	sick     *quarantine
	evictor  *evictor
	scrubber *scrubber

	context context.Context // of the goroutines; done when Close starts
	stop    context.CancelFunc
	work    sync.WaitGroup
	closing sync.Once
	closed  error
}

// upkeepInterval is how often times of use are saved and a full disk is checked again. A crash loses no older ones.
const upkeepInterval = 30 * time.Second

// Open opens a data folder, or creates one, and starts the background work. It reads all keys, which takes about one
// second per million blobs. It returns [ErrFormat], [ErrLocked], [ErrCorrupt], or [ErrReadOnly] if the disk is full.
// The caller has to close the Store.
func Open(config Config) (_ *Store, err error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	config = config.withDefaults()
	if config.Dir, err = filepath.Abs(config.Dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := openFolder(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{config: config, lock: lock, pins: newPins()}
	s.context, s.stop = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, s.closeAll()))
	}
	s.work.Go(func() { s.evictor.reclaim(s.context) })
	s.work.Go(func() { s.upkeep(s.context) })
	if config.ScrubRate > 0 {
		s.work.Go(func() { s.scrubber.run(s.context) })
	}
	return s, nil
}

func (s *Store) open() error {
	c := &s.config
	s.quota = &quota{
		dir: c.Dir, limit: c.Quota, minFree: c.MinFree, freeSpace: c.FreeSpace, log: c.Logger,
		high: int64(float64(c.Quota) * c.HighWater), low: int64(float64(c.Quota) * c.LowWater),
		turn: make(chan struct{}, 1),
	}
	s.sick = &quarantine{log: c.Logger, now: c.Now}
	// A store is not opened with less free space than this, and is read-only with less than Config.MinFree.
	if need := min(c.MinFree/2, database.OpenMargin); !s.quota.roomFor(need) {
		return fmt.Errorf("%w: disk of %s has less than %d bytes free", ErrReadOnly, c.Dir, need)
	}
	chunks := filepath.Join(c.Dir, chunksDir)
	db, err := database.Open(database.Config{
		Dir: chunks, Kind: database.Blobs, Quota: c.Quota, Room: s.quota.room, Logger: c.Logger,
		Hint: "to recover, move " + chunks + " away and publish the releases again, which restores their chunks",
	})
	if err != nil {
		return err
	}
	s.blobs = &blobs{db: db, codec: bundle.NewCodec(), quota: s.quota, pins: s.pins, sick: s.sick}
	meta := filepath.Join(c.Dir, metaDir)
	db, err = database.Open(database.Config{
		Dir: meta, Kind: database.Records, Room: s.quota.room, Logger: c.Logger,
		Hint: "to recover, restore " + meta + " from a backup, or move it away and publish every channel again, " +
			"--above the sequence that devices have seen",
	})
	if err != nil {
		return err
	}
	s.records = &records{db: db, log: c.Logger}
	s.assemble()
	if err := syncDir(c.Dir); err != nil { // it contains the folders of both databases now
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	if payload, err := s.records.get(quarantineKind); err == nil {
		_ = json.Unmarshal(payload, &s.sick.list) // for display only
	}
	err = s.blobs.each(s.context, digest.Digest{}, func(_ digest.Digest, size int64) bool {
		s.quota.grow(size, 1)
		return true
	})
	if err != nil {
		return err
	}
	_ = s.quota.writable(0) // sets the result of ReadOnly
	return nil
}

// assemble creates the parts that use the databases.
func (s *Store) assemble() {
	c := &s.config
	s.bundles = bundles{records: s.records, blobs: s.blobs, now: c.Now, closing: s.context}
	s.derived = derived{
		records: s.records, blobs: s.blobs, quota: s.quota, pins: s.pins, now: c.Now, absent: s.bundles.absent,
	}
	s.signed = signed{records: s.records, quota: s.quota, bundles: &s.bundles}
	s.states = states{records: s.records, quota: s.quota}
	s.evictor = &evictor{
		records: s.records, blobs: s.blobs, quota: s.quota, pins: s.pins,
		bundles: &s.bundles, derived: &s.derived, signed: &s.signed,
		keep: c.KeepReleases, log: c.Logger, closing: s.context, reclaimWanted: make(chan struct{}, 1),
	}
	s.quota.evict, s.quota.preempt = s.evictor.evict, s.writing.preempt
	s.scrubber = &scrubber{blobs: s.blobs, rate: c.ScrubRate, log: c.Logger, now: c.Now}
}

// load loads all records.
func (s *Store) load() error {
	used, err := s.records.used()
	if err != nil {
		return err
	}
	if err := s.bundles.load(used); err != nil {
		return err
	}
	if err := s.derived.load(used); err != nil {
		return err
	}
	return s.signed.load()
}

// upkeep does periodic background work until ctx is done.
func (s *Store) upkeep(ctx context.Context) {
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_ = s.quota.writable(0) // detects and logs when the disk has space again
		if err := s.saveUpkeep(); err != nil {
			s.config.Logger.Warn("upkeep failed", "reason", err)
		}
	}
}

// saveUpkeep writes data whose durability was not promised: times of use, the quarantine, and removals of dropped
// objects.
func (s *Store) saveUpkeep() error {
	if !s.quota.roomForUpkeep() {
		return nil
	}
	put := make(map[string][]byte)
	s.bundles.catalog.unwritten(put)
	s.derived.catalog.unwritten(put)
	const batch = 4096 // the size of transactions is limited
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
			return fmt.Errorf("save times of use: %w", err)
		}
	}
	if list, changed := s.sick.changed(); changed {
		if err := s.records.keep(change{put: map[string][]byte{quarantineKind: encodeDamage(list)}}); err != nil {
			return fmt.Errorf("save quarantine: %w", err)
		}
	}
	return s.removeDropped()
}

// bounded returns a context that is also cancelled when another is done.
func bounded(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// GCReport is what [Store.GC] has freed, in bytes.
type GCReport struct {
	Evicted int64 `json:"evicted"` // in unreferenced blobs
	Disk    int64 `json:"disk"`    // on disk; negative if more was written at the same time
}

// GC removes all unreferenced blobs and frees disk space. It takes seconds or longer.
func (s *Store) GC(ctx context.Context) (GCReport, error) {
	var report GCReport
	before, err := diskBlocks(s.config.Dir)
	if err != nil {
		return report, err
	}
	if report.Evicted, err = s.evictor.evictGarbage(ctx); err != nil {
		return report, fmt.Errorf("collect garbage: %w", err)
	}
	ctx, cancel := bounded(ctx, s.context)
	defer cancel()
	if err := s.blobs.db.Reclaim(ctx); err != nil {
		return report, fmt.Errorf("free disk space: %w", err)
	}
	after, err := diskBlocks(s.config.Dir)
	report.Disk = before - after
	return report, err
}

// Close stops the background work, waits for it, and closes the folder. Concurrent calls finish or return [ErrClosed].
// Close is idempotent.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.work.Wait()
		s.closed = errors.Join(s.saveUpkeep(), s.closeAll())
	})
	return s.closed
}

// closeAll closes everything that open has opened.
func (s *Store) closeAll() error {
	s.stop()
	var errs []error
	if s.records != nil {
		errs = append(errs, s.records.db.Close())
	}
	if s.blobs != nil {
		errs = append(errs, s.blobs.db.Close())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}
