package database

import "errors"

var (
	// ErrCorrupt is returned when a database is so damaged that it cannot be opened, or when records that were committed
	// are gone. The text around it says what an operator does about it.
	ErrCorrupt = errors.New("data folder is corrupt")
	// ErrNotFound is returned for a key that nothing is under.
	ErrNotFound = errors.New("not found")
	// ErrDamaged is returned for what cannot be read, or is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrClosed is returned by every method once Close was called.
	ErrClosed = errors.New("store is closed")
)
