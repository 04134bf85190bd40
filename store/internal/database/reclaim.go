package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger gives disk space back in four steps, and none of them follows from the one before: a deletion is a tombstone
// in the memtable; the memtable becomes a table only when it is full; compaction, when a tombstone meets its value
// there, counts the value as garbage of its value log file; and a file is rewritten only when it is asked to and enough
// of it is garbage. A database that deletes and waits stays as large as all that was ever written (five times the live
// set with Badger's defaults). So Reclaim fills the memtable up and has files rewritten until no more is gained.
//
// With the settings of badger.go the disk stays below 1.5 times the live bytes, see TestStore_DiskShrinks.

// reclaimRounds bounds how often the steps are repeated: a second one finds what the compaction of the first had not
// counted yet, and rewriting makes garbage of its own.
const reclaimRounds = 4

// settle bounds the wait for compaction. What it has not counted by then is found after the next sweep.
const settle = 10 * time.Second

// Reclaim gives disk space back that deleted blobs took, as much as can be had now. It takes seconds and more.
func (db *DB) Reclaim(ctx context.Context) error {
	db.reclaiming.Lock()
	defer db.reclaiming.Unlock()
	for range reclaimRounds {
		switch {
		case db.poisoned.Load():
			return errors.New("a damaged value log file cannot be rewritten before the next start")
		case !db.config.Room(LogFileSize(db.config.Quota) + 2*blobsMemTable):
			return errors.New("the disk has no room to rewrite a file")
		}
		if err := db.flush(); err != nil {
			return err
		}
		if err := db.settle(ctx); err != nil {
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

// Rewritten is how many files of the value log were rewritten since the database was opened.
func (db *DB) Rewritten() int64 { return db.rewritten.Load() }

// flush turns the memtable into a table. Badger has no call for it, but a memtable is full when its log is, and a key
// may be long: tombstones of keys that no blob has fill it without touching the value log, and the compaction that
// follows drops them.
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

// settle waits until the full memtable is a table and no table is left on level 0. Badger tells nobody, so it has to be
// asked.
func (db *DB) settle(ctx context.Context) error {
	ticker := time.NewTicker(25 * time.Millisecond) // half of the interval at which Badger looks for work
	defer ticker.Stop()
	end := time.NewTimer(settle)
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

// rewriteOne rewrites the value log file with the most garbage and removes it, once what was sound in it is durable
// elsewhere. Badger removes the file at once, synced or not, and a machine that dies then takes acknowledged blobs with
// it; but not while an iterator is open.
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
			db.poisoned.Store(true) // and leave the iterator open: the file must stay
			return err
		}
	}
	it.Close()
	txn.Discard()
	return err
}

// rewrite rewrites value log files until none has enough garbage, and returns how many.
func (db *DB) rewrite(ctx context.Context) (n int, err error) {
	mended := make(map[uint64]bool)
	for ctx.Err() == nil && !db.poisoned.Load() {
		if err := db.mendLogs(mended); err != nil {
			return n, fmt.Errorf("mend value log: %w", err)
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
