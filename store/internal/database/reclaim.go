package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger frees disk space in four steps, none of which triggers the next: a deletion writes a tombstone to the
// memtable; the memtable becomes a table only when it is full; compaction, when a tombstone meets its value, counts the
// value as garbage of its value log file; and a file is rewritten only on request, and only if enough of it is garbage.
// A database that only deletes never shrinks (five times the live set with Badger's defaults). So Reclaim fills up the
// memtable, and rewrites files until nothing more is freed.
//
// With the settings in badger.go, disk usage stays below 1.5 times the live bytes, see TestStore_DiskShrinks.

// reclaimRounds limits how often the steps are repeated: a second round finds what the compaction of the first had not
// counted yet, and rewriting produces garbage too.
const reclaimRounds = 4

// compactionTimeout limits the wait for compaction. Garbage that is counted later is found after the next sweep.
const compactionTimeout = 10 * time.Second

// Reclaim frees the disk space of deleted blobs, as far as possible now. It takes seconds or longer.
func (db *DB) Reclaim(ctx context.Context) error {
	db.reclaiming.Lock()
	defer db.reclaiming.Unlock()
	for range reclaimRounds {
		switch {
		case db.poisoned.Load():
			return errors.New("a damaged value log file cannot be rewritten before the next start")
		case !db.config.Room(LogFileSize(db.config.Quota) + 2*blobsMemTable):
			return errors.New("the disk has not enough space to rewrite a value log file")
		}
		if err := db.flush(); err != nil {
			return err
		}
		if err := db.waitForCompaction(ctx); err != nil {
			return err
		}
		rewritten, err := db.rewrite(ctx)
		db.rewritten.Add(int64(rewritten))
		if err != nil || rewritten == 0 {
			return err
		}
	}
	return nil
}

// Rewritten returns how many files of the value log were rewritten since the database was opened.
func (db *DB) Rewritten() int64 { return db.rewritten.Load() }

// flush turns the memtable into a table. Badger has no call for it, but a memtable is full when its log is full, and
// keys may be long: tombstones of nonexistent keys fill it without using the value log, and the following compaction
// removes them.
func (db *DB) flush() error {
	const keySize = 32 << 10
	key := make([]byte, keySize)
	for i := range blobsMemTable/keySize + 1 {
		padding := append([]byte(nil), key...)
		padding[0], padding[1] = 0xff, byte(i)
		err := db.Update(func(txn Txn) error { return txn.Delete(padding) })
		if err != nil {
			return fmt.Errorf("flush memtable: %w", err)
		}
	}
	return nil
}

// waitForCompaction waits until the full memtable is a table and no table is left on level 0. Badger does not notify,
// so it has to poll.
func (db *DB) waitForCompaction(ctx context.Context) error {
	ticker := time.NewTicker(25 * time.Millisecond) // half the interval of Badger's compactors
	defer ticker.Stop()
	end := time.NewTimer(compactionTimeout)
	defer end.Stop()
	for calm := 0; calm < 3; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-ticker.C:
		}
		switch waiting, err := db.uncompacted(); {
		case err != nil:
			return err
		case waiting == 0:
			calm++
		default:
			calm = 0
		}
	}
	return nil
}

// rewriteOne rewrites the value log file with the most garbage, and removes it after its live values are durable
// elsewhere. Badger would remove the file at once, before the sync, so that a power loss could lose acknowledged blobs;
// but it does not remove files while an iterator is open.
func (db *DB) rewriteOne() error {
	txn := db.badger.NewTransaction(false)
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	it := txn.NewIterator(o)
	db.rewriting.Lock()
	err := db.badger.RunValueLogGC(discardRatio)
	db.rewriting.Unlock()
	if err == nil {
		if err := db.syncFiles(); err != nil {
			db.poisoned.Store(true) // and leave the iterator open, so that the file is not removed
			return err
		}
	}
	it.Close()
	txn.Discard()
	return err
}

// rewrite rewrites value log files until none has enough garbage, and returns their number.
func (db *DB) rewrite(ctx context.Context) (n int, err error) {
	repaired := make(map[uint64]bool)
	for ctx.Err() == nil && !db.poisoned.Load() {
		if err := db.repairLogs(repaired); err != nil {
			return n, fmt.Errorf("repair value log: %w", err)
		}
		err := db.guard(db.rewriteOne)
		switch {
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("rewrite value log: %w", err)
		}
		n++
	}
	return n, ctx.Err()
}
