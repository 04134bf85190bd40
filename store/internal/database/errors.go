package database

import "errors"

var (
	// ErrCorrupt is returned if a database is too damaged to be opened, or if committed records are lost. The error text
	// says how to recover.
	ErrCorrupt = errors.New("data folder is corrupt")
	// ErrNotFound is returned for a key that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrDamaged is returned for data that cannot be read, or differs from what was written.
	ErrDamaged = errors.New("damaged")
	// ErrClosed is returned by every method after Close was called.
	ErrClosed = errors.New("store is closed")
)
