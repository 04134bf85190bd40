package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"brink/store/internal/database"
)

// Defaults of [Config].
const (
	DefaultQuota        = 10 << 30 // bytes: a few hundred bundles of 5 MB with their history
	DefaultHighWater    = 0.95
	DefaultLowWater     = 0.85 // ten points below, so that one eviction pass frees a tenth of the quota
	DefaultKeepReleases = 5
)

// Config is the configuration of a [Store]. The zero value of every field except Dir is usable.
type Config struct {
	// Dir is the data folder, created if it does not exist. It must be on a local file system, because the databases are
	// mapped into memory.
	Dir string
	// Quota limits the bytes of blobs, including their overhead on disk; 0 means DefaultQuota. The folder itself may be
	// up to 50 % larger, see [database.DB.Reclaim].
	Quota int64
	// HighWater and LowWater are shares of Quota. Eviction starts above the first and stops below the second. 0 means
	// the default.
	HighWater, LowWater float64
	// KeepReleases is how many releases of a channel's history are never evicted, in addition to those that the channel
	// serves now; 0 means DefaultKeepReleases, a negative number none. It includes their attachments.
	KeepReleases int
	// ScrubRate is how many bytes per second are read in the background to find damage; 0 means no scrubbing.
	ScrubRate int64
	// MinFree is how many bytes of the disk stay free; 0 means four files of the value log, 256 MiB with a Quota of 1 GiB
	// or more. The databases write through memory maps, where a full disk causes a SIGBUS instead of an error, so there
	// must be a margin. It must be enough for a file that value log collection rewrites.
	MinFree int64
	// Logger receives messages for operators; nil discards them.
	Logger *slog.Logger
	// Now and FreeSpace are for tests. The defaults are time.Now, and the free bytes of the file system of dir.
	Now       func() time.Time
	FreeSpace func(dir string) (uint64, error)
}

// Validate returns an error with everything that is wrong with the Config.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("data folder is not set"))
	}
	if c.Quota < 0 || c.MinFree < 0 || c.ScrubRate < 0 {
		errs = append(errs, errors.New("quota, minimum of free space and scrub rate cannot be negative"))
	}
	c = c.withDefaults()
	if !(0 < c.LowWater && c.LowWater <= c.HighWater && c.HighWater <= 1) { // negated, to refuse NaN
		errs = append(errs, fmt.Errorf("watermarks %v and %v: want 0 < low <= high <= 1", c.LowWater, c.HighWater))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Quota == 0 {
		c.Quota = DefaultQuota
	}
	if c.HighWater == 0 {
		c.HighWater = DefaultHighWater
	}
	if c.LowWater == 0 {
		c.LowWater = min(DefaultLowWater, c.HighWater)
	}
	switch {
	case c.KeepReleases == 0:
		c.KeepReleases = DefaultKeepReleases
	case c.KeepReleases < 0:
		c.KeepReleases = 0
	}
	if c.MinFree == 0 {
		c.MinFree = 4 * database.LogFileSize(c.Quota)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.FreeSpace == nil {
		c.FreeSpace = freeSpace
	}
	return c
}
