package database

import (
	"errors"
	"log/slog"
)

// Kind is what a database holds, by which it is tuned.
type Kind int

const (
	// Blobs are values of up to 1 MiB under keys of digest.Size bytes. They are durable after Sync.
	Blobs Kind = iota
	// Records are small values under keys of any length. Each change is durable on return. A transaction holds some
	// 1.2 MB, keys and all: Badger allows 15 % of the memtable.
	Records
)

// OpenMargin is how many bytes Badger may write when it opens: the memtables that it replays, and a compaction of them.
// There must be as many, for a write that finds no room ends the process.
const OpenMargin = 32 << 20

// Config says where a database lies and what it is for. Dir must be set.
type Config struct {
	// Dir is the folder. It is made when it does not exist. It must be on a local file system, because the files in it are
	// mapped into memory, and no other process may use it.
	Dir  string
	Kind Kind
	// Quota is how many bytes blobs take at most, from which the length of the files follows that they lie in.
	Quota int64
	// Hint says what an operator does about a database that cannot be opened. It ends the text of that error.
	Hint string
	// Room reports whether the disk has room for n bytes beside what Badger writes by itself; nil means always. Badger
	// writes through memory maps, where a full disk ends the process, so this is asked before it is made to write much.
	Room func(n int64) bool
	// Logger takes what an operator should know; nil means nowhere.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with the configuration, joined.
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
