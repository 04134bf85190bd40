// Package store keeps what a node has: chunks, bundles, signed records, and content derived from them. It is
// content-addressed and lies in one folder, in two databases, see package database.
//
// The life of one bundle: [Store.Ingest] has room promised for what is missing and pins the rest, [Ingest.Put] verifies
// one chunk after the other, and [Ingest.Commit] rebuilds the archive from them, compares it with the index, and makes
// the bundle durable. From then on [Store.Bundle] returns its index and [Store.Chunk] its bytes, verified each time
// they leave the disk. When room is wanted, unreferenced blobs go first, then derived content, then bundles that no
// channel manifest needs; [Store.Ingest] heals what was damaged.
//
// The invariant: a byte that does not match its digest is never returned. Content has one door in and is verified
// there; it is verified again when it is read; and what is found damaged is set aside and reported as not there, so
// that it can be brought in again. What Commit, PutManifest, PutTrust or PutState has acknowledged survives kill -9 and
// power loss.
//
// Reads share no lock with writes but those inside the database. All methods are safe for concurrent use.
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
// Its state belongs to its parts, each with its invariant. The store itself has the folder and the goroutines; it opens
// the parts and closes them.
//
// Locks are taken in this order: evictor.sweeping, an Ingest's own, records.changing, pins.mu, blobs.writing, the rest.
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

	context context.Context // of the goroutines; done when Close begins
	stop    context.CancelFunc
	work    sync.WaitGroup
	closing sync.Once
	closed  error
}

// upkeepInterval is how often times of use are written and a full disk is looked at again. A crash loses no more.
const upkeepInterval = 30 * time.Second

// Open opens a data folder, or makes a new one, and starts the work in the background. It reads all keys: about a
// second for each million of blobs. It returns [ErrFormat], [ErrLocked], [ErrCorrupt], or [ErrReadOnly] when the disk
// has no room at all. Close the result.
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
		return nil, fmt.Errorf("open store: %w", errors.Join(err, s.shut()))
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
	// With less than this on the disk a store is not opened; with less than Config.MinFree, it is opened and read-only.
	if need := min(c.MinFree/2, database.OpenMargin); !s.quota.roomFor(need) {
		return fmt.Errorf("%w: disk of %s has less than %d bytes free", ErrReadOnly, c.Dir, need)
	}
	chunks := filepath.Join(c.Dir, chunksDir)
	db, err := database.Open(database.Config{
		Dir: chunks, Kind: database.Blobs, Quota: c.Quota, Room: s.quota.room, Logger: c.Logger,
		Hint: "to go on, move " + chunks + " aside: publishing the releases again brings their chunks back",
	})
	if err != nil {
		return err
	}
	s.blobs = &blobs{db: db, codec: bundle.NewCodec(), quota: s.quota, pins: s.pins, sick: s.sick}
	meta := filepath.Join(c.Dir, metaDir)
	db, err = database.Open(database.Config{
		Dir: meta, Kind: database.Records, Room: s.quota.room, Logger: c.Logger,
		Hint: "to go on, restore it, or move " + meta +
			" aside and publish every channel again, --above what devices have seen",
	})
	if err != nil {
		return err
	}
	s.records = &records{db: db, log: c.Logger}
	s.assemble()
	if err := syncDir(c.Dir); err != nil { // the folders of both databases are in it from now on
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	if payload, err := s.records.get(quarantineKind); err == nil {
		_ = json.Unmarshal(payload, &s.sick.list) // for people to read; nothing depends on it
	}
	err = s.blobs.each(s.context, digest.Digest{}, func(_ digest.Digest, size int64) bool {
		s.quota.grow(size, 1)
		return true
	})
	if err != nil {
		return err
	}
	_ = s.quota.writable(0) // sets what ReadOnly says
	return nil
}

// assemble makes the parts that work on the databases.
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
	s.quota.evict, s.quota.preempt = s.evictor.evict, s.derived.writing.preempt
	s.scrubber = &scrubber{blobs: s.blobs, rate: c.ScrubRate, log: c.Logger, now: c.Now}
}

// load reads all records.
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

// upkeep does what nobody waits for.
func (s *Store) upkeep(ctx context.Context) {
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		_ = s.quota.writable(0) // notices a disk that has room again, and logs it
		if err := s.keep(); err != nil {
			s.config.Logger.Warn("upkeep failed", "reason", err)
		}
	}
}

// keep writes what is worth keeping but was promised to nobody: times of use, what was set aside, what was dropped.
func (s *Store) keep() error {
	if !s.quota.roomForUpkeep() {
		return nil
	}
	put := make(map[string][]byte)
	s.bundles.catalog.unwritten(put)
	s.derived.catalog.unwritten(put)
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

// bounded returns a context that also ends when another does.
func bounded(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// GCReport says what [Store.GC] gave back, in bytes.
type GCReport struct {
	Evicted int64 `json:"evicted"` // of unreferenced blobs
	Disk    int64 `json:"disk"`    // of the disk; less than 0 when others wrote more meanwhile
}

// GC removes all blobs that nothing refers to and gives disk space back. It takes seconds and more.
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
		return report, fmt.Errorf("give disk space back: %w", err)
	}
	after, err := diskBlocks(s.config.Dir)
	report.Disk = before - after
	return report, err
}

// Close stops the background work, waits for it, and closes the folder. Calls under way end with [ErrClosed] or finish.
// It is idempotent.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.work.Wait()
		s.closed = errors.Join(s.keep(), s.shut())
	})
	return s.closed
}

// shut closes what open has opened.
func (s *Store) shut() error {
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
