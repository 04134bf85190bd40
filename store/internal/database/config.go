package database

import (
	"errors"
	"log/slog"
)

// Kind is the kind of data in a database, which determines its settings.
type Kind int

const (
	// Blobs are values of up to 1 MiB under keys of digest.Size bytes. They are durable after Sync.
	Blobs Kind = iota
	// Records are small values under keys of any length. Each change is durable on return. A transaction can hold about
	// 1.2 MB including keys: Badger allows 15 % of the memtable.
	Records
)

// OpenMargin is how many bytes Badger may write when it opens: the memtables that it replays, and a compaction of them.
// They must be free, because Badger terminates the process if a write fails for lack of space.
const OpenMargin = 32 << 20

// Config is the configuration of a [DB]. Dir must be set.
type Config struct {
	// Dir is the folder, created if it does not exist. It must be on a local file system, because its files are mapped
	// into memory, and no other process may use it.
	Dir  string
	Kind Kind
	// Quota is the maximum number of bytes of blobs, which determines the size of value log files.
	Quota int64
	// Hint says how to recover from a database that cannot be opened. It is appended to the text of that error.
	Hint string
	// Room reports whether the disk has space for n bytes, besides what Badger writes by itself; nil means always. It is
	// called before large writes: Badger writes through memory maps, where a full disk terminates the process.
	Room func(n int64) bool
	// Logger receives messages for operators; nil discards them.
	Logger *slog.Logger
}

// Validate returns an error with everything that is wrong with the Config.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("folder is not set"))
	}
	if c.Kind != Blobs && c.Kind != Records {
		errs = append(errs, errors.New("kind is neither Blobs nor Records"))
	}
	if c.Quota < 0 {
		errs = append(errs, errors.New("quota cannot be negative"))
	}
	return errors.Join(errs...)
}
