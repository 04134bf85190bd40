package origin

import (
	"errors"
	"log/slog"
	"time"

	"brink/digest"
)

// Defaults of [Config].
const (
	// DefaultSlots is how many bundles are fetched at the same time. Each is one stream from one source, so a few fill a
	// link, and one slow source does not delay the others.
	DefaultSlots = 8
	// DefaultBytes bounds the bytes that are requested and not received yet.
	DefaultBytes = 64 << 20
	// DefaultQueue is how many bundles may wait for a slot. A device waits for each, and would time out with more.
	DefaultQueue = 1024
	// DefaultStall is how long a source may send nothing: a retransmission or two on a bad intercontinental link.
	DefaultStall = 5 * time.Second
	// DefaultRounds is how often all sources are tried before a fill fails.
	DefaultRounds = 3
	// DefaultPause is the mean of the first pause between rounds; each further one is twice as long.
	DefaultPause = 500 * time.Millisecond
	// DefaultRemember is how long calls get the error of a failed fill without another attempt. It is shorter than the
	// time after which devices are told to retry.
	DefaultRemember = 3 * time.Second
	// DefaultJitter is the longest delay of a fill ahead, so that a fleet that receives a pointer to a release at once
	// does not request it at once.
	DefaultJitter = 2 * time.Second
)

// Config configures a [Filler]. The zero value of every field except Store and Sources is usable.
type Config struct {
	Store Store
	// Sources returns the sources of a bundle, in the order in which to try them; those that failed recently are tried
	// last in any case. It is called once a round and must not block. The Filler does not change the result.
	Sources func(id digest.Digest) []Source
	// Signed, if set, returns what signed statements say about a bundle. The statements may differ, and the index must
	// match one of them: one that matches none is the source's fault, and is not decoded. They also bound the size of the
	// index. Without a statement the index has a fixed bound, and a wrong one is only detected when all its chunks were
	// received. Signed must not block.
	Signed func(id digest.Digest) []Signed

	Slots    int           // bundles at the same time, without those filled ahead; 0 means DefaultSlots
	Bytes    int64         // requested and not received yet; 0 means DefaultBytes
	Queue    int           // bundles that wait; 0 means DefaultQueue
	Stall    time.Duration // without a chunk, until the next source is tried; 0 means DefaultStall
	Rounds   int           // over all sources; 0 means DefaultRounds
	Pause    time.Duration // between the first two rounds, on average; 0 means DefaultPause
	Remember time.Duration // of a failure; 0 means DefaultRemember
	Rate     int64         // bytes per second that are fetched ahead; 0 means no limit
	Jitter   time.Duration // of fills ahead; 0 means DefaultJitter, a negative one none
	Logger   *slog.Logger  // nil discards
}

// Validate returns an error for everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.Store == nil || c.Sources == nil {
		errs = append(errs, errors.New("store and sources must be set"))
	}
	if c.Slots < 0 || c.Bytes < 0 || c.Queue < 0 || c.Stall < 0 || c.Rounds < 0 || c.Pause < 0 || c.Remember < 0 ||
		c.Rate < 0 {
		errs = append(errs, errors.New("limits cannot be negative"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	set(&c.Slots, DefaultSlots)
	set(&c.Bytes, DefaultBytes)
	set(&c.Queue, DefaultQueue)
	set(&c.Stall, DefaultStall)
	set(&c.Rounds, DefaultRounds)
	set(&c.Pause, DefaultPause)
	set(&c.Remember, DefaultRemember)
	set(&c.Jitter, DefaultJitter)
	c.Jitter = max(c.Jitter, 0)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// set sets a field to its default if it is zero.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
