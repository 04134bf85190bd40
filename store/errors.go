package store

import (
	"errors"

	"brink/store/internal/database"
)

// Returned when a data folder is opened.
var (
	// ErrFormat is returned for a folder that is no store, or one that a newer version of this program wrote.
	ErrFormat = errors.New("not a data folder that this version can open")
	// ErrLocked is returned when another process has the folder open; the text around it names that process.
	ErrLocked = errors.New("data folder is in use")
	// ErrCorrupt is returned when the files of a database are so damaged that it cannot be opened, or when records
	// that were acknowledged are gone. The text around it says what to move aside.
	ErrCorrupt = database.ErrCorrupt
)

// Returned when the store is read.
var (
	// ErrNotFound is returned for what is not here, and for what was here but is damaged; the latter is [ErrDamaged] as
	// well. Either way it can be brought in again.
	ErrNotFound = database.ErrNotFound
	// ErrDamaged is returned for bytes that are not what was written. A damaged blob is set aside at once and is also
	// [ErrNotFound]; a damaged signed record stays, so that nobody takes it for one that never was.
	ErrDamaged = database.ErrDamaged
	// ErrClosed is returned by every method once Close was called.
	ErrClosed = database.ErrClosed
)

// Returned when something is brought in.
var (
	// ErrQuota is returned when there is no room within the byte quota, whatever is evicted.
	ErrQuota = errors.New("no room within the quota")
	// ErrReadOnly is returned while the disk has too little room; [Store.ReadOnly] says why. It passes by itself.
	ErrReadOnly = errors.New("store is read-only")
	// ErrIncomplete is returned by [Ingest.Commit] while chunks are missing.
	ErrIncomplete = errors.New("bundle is not complete")
	// ErrUnwanted is returned by [Ingest.Put] for a chunk that the index does not have.
	ErrUnwanted = errors.New("chunk is not part of the bundle")
	// ErrMismatch is returned by [Ingest.Commit] when the chunks do not make the archive and the index that were named.
	ErrMismatch = errors.New("bundle is not what its index says")
	// ErrMissingBundle is returned for a channel manifest that needs a bundle which is not complete here.
	ErrMissingBundle = errors.New("bundle of the release is not here")
	// ErrConflict is returned when a signed record is not the one that the caller expects to replace.
	ErrConflict = errors.New("record has changed")
	// ErrTooLarge is returned for a record of more than [MaxRecord] bytes, and for states beyond their bounds.
	ErrTooLarge = errors.New("record is too large")
)
