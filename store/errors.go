package store

import (
	"errors"

	"brink/store/internal/database"
)

// Errors of opening a data folder.
var (
	// ErrFormat is returned for a folder that is not a store, or that a newer version of this program has written.
	ErrFormat = errors.New("not a data folder that this version can open")
	// ErrLocked is returned if another process has the folder open; the error text names that process.
	ErrLocked = errors.New("data folder is in use")
	// ErrCorrupt is returned if a database is too damaged to be opened, or if acknowledged records are lost. The error
	// text says how to recover.
	ErrCorrupt = database.ErrCorrupt
)

// Errors of reading.
var (
	// ErrNotFound is returned for missing data, and together with [ErrDamaged] for a damaged blob. In both cases the data
	// can be stored again.
	ErrNotFound = database.ErrNotFound
	// ErrDamaged is returned for bytes that differ from what was written. A damaged blob is quarantined immediately, and
	// the error is also [ErrNotFound]; a damaged signed record remains, so that it is not mistaken for a missing one.
	ErrDamaged = database.ErrDamaged
	// ErrClosed is returned by every method after Close was called.
	ErrClosed = database.ErrClosed
)

// Errors of writing.
var (
	// ErrQuota is returned if there is not enough space within the quota, even after eviction.
	ErrQuota = errors.New("no room within the quota")
	// ErrReadOnly is returned while the disk has too little free space; [Store.ReadOnly] returns the reason. The store is
	// writable again as soon as there is enough.
	ErrReadOnly = errors.New("store is read-only")
	// ErrIncomplete is returned by [Ingest.Commit] while chunks are missing.
	ErrIncomplete = errors.New("bundle is not complete")
	// ErrUnwanted is returned by [Ingest.Put] for a chunk that is not in the index.
	ErrUnwanted = errors.New("chunk is not part of the bundle")
	// ErrMismatch is returned by [Ingest.Commit] if the chunks do not match the archive and the index of the bundle.
	ErrMismatch = errors.New("bundle is not what its index says")
	// ErrMissingBundle is returned for a channel manifest that needs a bundle which is not complete in the store.
	ErrMissingBundle = errors.New("bundle of the release is not here")
	// ErrConflict is returned if a signed record is not the one that the caller expects to replace.
	ErrConflict = errors.New("record has changed")
	// ErrTooLarge is returned for a record of more than [MaxRecord] bytes, and for states that exceed their limits.
	ErrTooLarge = errors.New("record is too large")
)
