// Package database is a key-value database in one folder: Badger, with protection from its pitfalls. No other package
// imports Badger or knows the format of its files.
//
// The life of one call: [Open] checks every file before Badger opens it, repairs what can be repaired, and otherwise
// returns [ErrCorrupt]. [DB.Update] writes, and [DB.Sync] and [DB.Commit] make durable; [DB.Read] finds a value, and a
// [LogReader] reads it from its file. Deleted values occupy the disk until [DB.Reclaim]. [DB.Close] waits for
// concurrent calls.
//
// The invariant: damage in any file loses only the damaged data and is reported as an error; it neither terminates the
// process nor loses other data. Whatever Commit has acknowledged exists when the folder is opened again, or opening
// fails. Callers must verify values themselves: Badger may return an empty value for one that it cannot read, and this
// package does not know the format of values.
//
// The pitfalls, described where they are handled: tables and logs that terminate the process (preflight.go), logs that
// are truncated at the first damaged entry (valuelog.go, head.go), faults in memory maps, locks that a failed read does
// not release, and logs that are not synced (database.go), memory maps that block a processor (logreader.go), space
// that is never freed and files that are removed too early (reclaim.go), and settings with which logs cannot be
// replayed (badger.go). One is left to callers: a full disk terminates the process, so they must leave a margin and
// implement [Config].Room.
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

// DB is a Badger database that does not terminate the process: after a panic in Badger, or a fault in the memory map of
// a truncated file, calls return [ErrDamaged]; after Close they return [ErrClosed]. It is safe for concurrent use
// unless documented otherwise. Use [Open].
type DB struct {
	config Config
	dir    string
	log    *slog.Logger

	// life is held for reading by every call and for writing by Close: Badger unmaps its files, so no call may run then.
	life   sync.RWMutex
	closed bool
	badger *badger.DB

	// rewriting is held for reading by writers, and for writing while a value log file is rewritten. Otherwise there would
	// be a data race, because Badger reads the highest version in the memtable without the writer's lock (v4.9.6,
	// DB.MaxVersion). So writers wait while a file is rewritten, about a tenth of a second; readers do not.
	rewriting sync.RWMutex

	// poisoned is set when a read failed in a way that never releases the read lock of a value log file (badger v4.9.6,
	// value.go: Read returns no callback after "Invalid read", or does not return at all). Locking that file for writing
	// would then block forever, so value log collection and closing Badger are no longer possible.
	poisoned atomic.Bool

	head *head // of Records, nil otherwise

	reclaiming sync.Mutex   // one Reclaim at a time
	rewritten  atomic.Int64 // files
}

// Open opens a database, or creates one. It first repairs damage that Badger would not survive. It returns [ErrCorrupt]
// for damage that cannot be repaired, and if committed records are lost. The caller has to close the DB.
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

// open runs preflight and opens Badger.
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

// View calls do with a read-only transaction. do must not call the database again, and must not retain what it reads.
func (db *DB) View(do func(Txn) error) error {
	return db.guard(func() error {
		return db.badger.View(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Update calls do with a read-write transaction. do must not call the database again. Conflicts are not detected:
// another Update may change what do has read, so callers that read before they write must exclude others.
func (db *DB) Update(do func(Txn) error) error {
	return db.guard(func() error {
		db.rewriting.RLock()
		defer db.rewriting.RUnlock()
		return db.badger.Update(func(txn *badger.Txn) error { return do(Txn{badger: txn, dir: db.dir}) })
	})
}

// Read calls do with the item of key, and again if do returns ErrDamaged: value log collection may remove the file
// after Badger has looked up the pointer and before it reads the value (v4.9.6), which then seems to be empty. Read
// returns ErrNotFound, or the error of do. do must not call the database again.
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

// Has reports whether key exists, without reading its value.
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

// Each calls do for each item whose key starts with prefix, from the key first on, in the order of keys. It stops at
// the first error of do and returns it. do must not call the database again. While it runs, no file of the value log
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

// VerifyTables verifies the checksums of all tables.
func (db *DB) VerifyTables() error {
	return db.guard(func() error { return db.badger.VerifyChecksum() })
}

// Dir returns the folder.
func (db *DB) Dir() string { return db.dir }

// Poisoned reports whether a failed read has not released a lock: then no disk space can be freed until the database is
// opened again.
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

// Sync makes everything that Update has written durable.
//
// Badger's own Sync syncs the log of the current memtable and the current value log file. Earlier value log files are
// synced when they are full, but the logs of memtables that wait to be flushed are not, so Sync syncs them by name. If
// one does not exist any more, it has been flushed, and its table was synced before that.
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

// Close waits for concurrent calls and closes the database. If it is poisoned, or the disk has no space for what Badger
// writes on Close, everything is made durable, but Badger stays open until the process exits; its logs are replayed
// when the folder is opened again. Close is idempotent.
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
		db.log.Warn("database stays open until the process exits", "dir", db.dir, "damaged", db.poisoned.Load())
	} else {
		err = db.badger.Close()
	}
	return errors.Join(err, db.head.close())
}

// uncompacted returns how many tables wait for their first compaction, including memtables that are to become tables:
// all of the files for memtables except the current one.
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

// syncFile makes the contents of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
