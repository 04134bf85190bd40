package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// database is a Badger that can not take the process with it: what panics in it, or faults in a memory map of a file
// that has become shorter, comes out as ErrDamaged, and a call after close as ErrClosed.
type database struct {
	dir string
	log *slog.Logger

	// life is held shared by every call and alone by close: Badger unmaps its files, so nobody may be inside.
	life   sync.RWMutex
	closed bool
	badger *badger.DB

	// rewriting is held shared by writers and alone while a value log file is rewritten, which begins by reading the
	// highest version in the memtable without the lock of the writer (badger v4.9.6, DB.MaxVersion): a data race. So
	// writers wait for the rewriting of one file, a tenth of a second or so; readers do not.
	rewriting sync.RWMutex

	// poisoned is set when a read failed in a way that leaves the read lock of a value log file locked for ever (badger
	// v4.9.6, value.go: Read returns no callback after "Invalid read", or does not return at all). Whoever wants that
	// file alone then waits for ever, so there must be no more value log collection, and no orderly close either.
	poisoned atomic.Bool
}

// openDatabase opens what preflight finds sound. hint says what an operator does about a database that is not.
func openDatabase(o badger.Options, log *slog.Logger, hint string) (db *database, err error) {
	db = &database{dir: o.Dir, log: log}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: badger: %v", ErrCorrupt, r)
		}
		if err != nil {
			db, err = nil, fmt.Errorf("open %s: %w (%s)", o.Dir, err, hint)
		}
	}()
	if err := preflight(o, log); err != nil {
		return nil, err
	}
	db.badger, err = badger.Open(o.WithLogger(badgerLog{log: log, leaking: func() { db.poisoned.Store(true) }}))
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return db, err
}

// View reads. do must not call the database again, and must not keep what it is shown.
func (db *database) View(do func(Txn) error) error {
	return db.guard(func() error {
		return db.badger.View(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Update writes. do must not call the database again. What do reads may have been changed by another Update before its
// own changes are made, so whoever reads before they write keeps others out.
func (db *database) Update(do func(Txn) error) error {
	return db.guard(func() error {
		db.rewriting.RLock()
		defer db.rewriting.RUnlock()
		return db.badger.Update(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Read calls do with the item of key, and again when do finds its value damaged: value log collection may remove the
// file after Badger looked the pointer up and before it is followed (v4.9.6), which looks like an empty value. It
// returns ErrNotFound, or what do returns. do must not call the database again.
func (db *database) Read(key []byte, do func(Item) error) (err error) {
	for range 3 {
		err = db.View(func(txn Txn) error {
			item, err := txn.Get(key)
			if err != nil {
				return err
			}
			return do(item)
		})
		if !errors.Is(err, ErrDamaged) {
			break
		}
	}
	return err
}

// Has reports whether there is something under key, without looking at its value.
func (db *database) Has(key []byte) (bool, error) {
	err := db.View(func(txn Txn) error {
		_, err := txn.Get(key)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Each calls do for each item whose key begins with prefix, from the key first on, in the order of keys. It stops at the
// first error of do and returns it. do must not call the database again. While it works, no file of the value log can be
// removed.
func (db *database) Each(prefix, first []byte, do func(Item) error) error {
	return db.View(func(txn Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchValues = false
		it := txn.badger.NewIterator(o)
		defer it.Close()
		for it.Seek(first); it.Valid(); it.Next() {
			if err := do(Item{badger: it.Item(), dir: db.dir}); err != nil {
				return err
			}
		}
		return nil
	})
}

// VerifyTables compares the checksums of all tables.
func (db *database) VerifyTables() error {
	return db.guard(func() error { return db.badger.VerifyChecksum() })
}

// Poisoned reports whether a read has left a lock behind: until the database is opened again, no disk space comes back.
func (db *database) Poisoned() bool { return db.poisoned.Load() }

func (db *database) guard(do func() error) (err error) {
	db.life.RLock()
	defer db.life.RUnlock()
	if db.closed {
		return ErrClosed
	}
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			db.poisoned.Store(true)
			err = fmt.Errorf("%w: badger: %v", ErrDamaged, r)
		}
	}()
	return do()
}

// Sync makes all that Update has written durable.
//
// Badger's own Sync covers the log of the current memtable and the current value log file. A value log file is synced
// when it is finished, but the log of a memtable that waits to be flushed is not, so those are synced here by name. One
// that is gone meanwhile has been flushed, and tables are synced before their log is removed.
func (db *database) Sync() error { return db.guard(db.syncFiles) }

func (db *database) syncFiles() error {
	if err := db.badger.Sync(); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(db.dir, "*.mem"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		if err := syncFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(db.dir)
}

// close closes the database. With abandon, or when it is poisoned, all is made durable but Badger is left as it is,
// until the process ends: what is in its logs is replayed when the folder is opened again.
func (db *database) close(abandon bool) error {
	if abandon || db.poisoned.Load() {
		err := db.Sync()
		db.life.Lock()
		defer db.life.Unlock()
		db.closed = true
		db.log.Warn("database is left open until the process ends", "dir", db.dir, "damaged", db.poisoned.Load())
		return err
	}
	db.life.Lock()
	defer db.life.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	return db.badger.Close()
}

// diskBlocks is how many bytes of the disk the files below dir take. It is not the sum of their sizes: the logs are
// sparse files, twice as long as they ever become.
func diskBlocks(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // it was removed while we looked
		}
		if err == nil {
			total += allocated(info)
		}
		return err
	})
	return total, err
}

// levelZero is how many tables wait for their first compaction.
func (db *database) levelZero() (n int, err error) {
	err = db.guard(func() error {
		n = db.badger.Levels()[0].NumTables
		return nil
	})
	return n, err
}

// trimName returns the base name of path without its suffix.
func trimName(path, suffix string) string { return strings.TrimSuffix(filepath.Base(path), suffix) }
