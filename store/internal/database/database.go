// Package database keeps values under keys in one folder: Badger, without its traps. Nobody else imports Badger, reads
// its files or knows how they are laid out.
//
// The life of one call: [Open] looks at every file before Badger does, mends what can be made good, and refuses the
// rest as [ErrCorrupt]. [DB.Update] writes, and [DB.Sync] and [DB.Commit] make durable; [DB.Read] finds a value, and a
// [LogReader] reads it from its file. What was deleted takes up the disk until [DB.Reclaim]. [DB.Close] waits for all
// of them.
//
// The invariant: damage, whatever file it is in, costs what lies at that place and is an error; it costs neither the
// process nor what lies beside it. What Commit has acknowledged is there when the folder is opened again, or the folder
// does not open. That a value is the one that was put is for the caller to check: Badger may give an empty one for what
// it cannot read, and nobody here knows what a value means.
//
// The traps that it hides, each told where its guard is: tables and logs that end the process (preflight.go), logs that
// are cut at the first damaged entry (valuelog.go, head.go), faults in memory maps, locks that a failed read leaves
// behind, and logs that a sync leaves out (database.go), maps that stop a processor (logreader.go), space that never
// comes back and files that are removed too early (reclaim.go), and settings with which logs cannot be replayed
// (badger.go). One is left to callers: a full disk ends the process, so they leave a margin and tell of it by
// [Config].Room.
package database

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// DB is a Badger that cannot take the process with it: what panics in it, or faults in a memory map of a file that has
// become shorter, comes out as [ErrDamaged], and a call after Close as [ErrClosed]. It is safe for concurrent use where
// nothing else is said. Use [Open].
type DB struct {
	config Config
	dir    string
	log    *slog.Logger

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

	head *head // of Records, nil otherwise

	reclaiming sync.Mutex   // one Reclaim at a time
	rewritten  atomic.Int64 // files
}

// Open opens a database, or makes a new one. What Badger would not survive is mended first. What cannot be mended is
// [ErrCorrupt], and so are records that were committed and are gone. Close the result.
func Open(c Config) (*DB, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Room == nil {
		c.Room = func(int64) bool { return true }
	}
	db := &DB{config: c, dir: c.Dir, log: c.Logger}
	if err := db.open(); err != nil {
		return nil, err
	}
	if c.Kind == Records {
		if err := db.openHead(); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// open opens what preflight finds sound.
func (db *DB) open() (err error) {
	o := blobsOptions(db.dir, db.config.Quota)
	if db.config.Kind == Records {
		o = recordsOptions(db.dir)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: badger: %v", ErrCorrupt, r)
		}
		if err != nil {
			err = fmt.Errorf("open %s: %w (%s)", db.dir, err, db.config.Hint)
		}
	}()
	if err := preflight(o, db.log); err != nil {
		return err
	}
	db.badger, err = badger.Open(o.WithLogger(badgerLog{log: db.log, leaking: func() { db.poisoned.Store(true) }}))
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// View reads. do must not call the database again, and must not keep what it is shown.
func (db *DB) View(do func(Txn) error) error {
	return db.guard(func() error {
		return db.badger.View(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Update writes. do must not call the database again. What do reads may have been changed by another Update before its
// own changes are made, so whoever reads before they write keeps others out.
func (db *DB) Update(do func(Txn) error) error {
	return db.guard(func() error {
		db.rewriting.RLock()
		defer db.rewriting.RUnlock()
		return db.badger.Update(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Read calls do with the item of key, and again when do finds its value damaged: value log collection may remove the
// file after Badger looked the pointer up and before it is followed (v4.9.6), which looks like an empty value. It
// returns ErrNotFound, or what do returns. do must not call the database again.
func (db *DB) Read(key []byte, do func(Item) error) (err error) {
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
func (db *DB) Has(key []byte) (bool, error) {
	err := db.View(func(txn Txn) error {
		_, err := txn.Get(key)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Each calls do for each item whose key begins with prefix, from the key first on, in the order of keys. It stops at
// the first error of do and returns it. do must not call the database again. While it works, no file of the value log
// can be removed.
func (db *DB) Each(prefix, first []byte, do func(Item) error) error {
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
func (db *DB) VerifyTables() error {
	return db.guard(func() error { return db.badger.VerifyChecksum() })
}

// Dir returns the folder.
func (db *DB) Dir() string { return db.dir }

// Poisoned reports whether a read has left a lock behind: until the database is opened again, no disk space comes back.
func (db *DB) Poisoned() bool { return db.poisoned.Load() }

func (db *DB) guard(do func() error) (err error) {
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
func (db *DB) Sync() error { return db.guard(db.syncFiles) }

func (db *DB) syncFiles() error {
	if err := db.badger.Sync(); err != nil {
		return err
	}
	logs, err := filesOf(db.dir, ".mem")
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

// Close closes the database. Without room for what Badger writes then, or when it is poisoned, all is made durable but
// Badger is left as it is, until the process ends: what is in its logs is replayed when the folder is opened again.
// Calls under way are waited for. It is idempotent.
func (db *DB) Close() error {
	leave := !db.config.Room(0) || db.poisoned.Load()
	var err error
	if leave {
		err = db.Sync()
	}
	db.life.Lock()
	defer db.life.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	if leave {
		db.log.Warn("database is left open until the process ends", "dir", db.dir, "damaged", db.poisoned.Load())
	} else {
		err = db.badger.Close()
	}
	return errors.Join(err, db.head.close())
}

// uncompacted is how many tables wait for their first compaction, with the memtables that are yet to become tables: of
// the files that Badger keeps for memtables, all but the one that is written to.
func (db *DB) uncompacted() (n int, err error) {
	err = db.guard(func() error {
		memtables, err := filesOf(db.dir, ".mem")
		n = len(memtables) - 1 + db.badger.Levels()[0].NumTables
		return err
	})
	return n, err
}

// filesOf returns the paths of the files in dir with an extension, sorted. [filepath.Glob] would read characters such
// as [ in dir as a pattern, and find nothing.
func filesOf(dir, extension string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if filepath.Ext(e.Name()) == extension {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}

// syncFile makes what was written to a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
