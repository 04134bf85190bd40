package origin

import (
	"errors"
	"log/slog"
	"time"

	"brink/digest"
)

// Defaults of [Config].
const (
	// DefaultSlots is how many bundles are fetched at a time. A bundle is one stream from one source, so a few fill a
	// link, and one slow source does not hold up the rest.
	DefaultSlots = 8
	// DefaultBytes bounds what is asked for and not here yet.
	DefaultBytes = 64 << 20
	// DefaultQueue is how many bundles may wait for a slot. A device waits for each; more than this would wait in vain.
	DefaultQueue = 1024
	// DefaultStall is how long a source may give nothing: a retransmission or two on a bad link between continents.
	DefaultStall = 5 * time.Second
	// DefaultRounds is how often all sources are asked before a fill fails.
	DefaultRounds = 3
	// DefaultPause is the mean of the first pause between rounds; each after it is twice as long.
	DefaultPause = 500 * time.Millisecond
	// DefaultRemember is how long a failed fill is the answer to the next ones. A device that is told to come back does
	// so later than that.
	DefaultRemember = 3 * time.Second
	// DefaultJitter is the most by which a fill ahead is put off, so that a fleet that learns of a release at once does
	// not ask for it at once.
	DefaultJitter = 2 * time.Second
)

// Config says what a [Filler] fills, and from where. The zero value of every field but Store and Sources is usable.
type Config struct {
	Store Store
	// Sources returns where a bundle may be had, in the order to be asked. It is called once a round, must not block, and
	// what it returns is not changed. Those that failed lately are asked last all the same.
	Sources func(id digest.Digest) []Source
	// Signed, if set, says what is signed of a bundle, by each of those who say something of it: they may differ, and one
	// of them must fit. It bounds what is read of the index, and an index that fits none counts as the source's fault
	// before it is decoded. What is not known has a bound of its own, and a wrong index is then found out when its chunks
	// are here. It must not block.
	Signed func(id digest.Digest) []Signed

	Slots    int           // bundles at a time, those that are filled ahead not counted; 0 means DefaultSlots
	Bytes    int64         // asked for and not here yet; 0 means DefaultBytes
	Queue    int           // bundles that wait; 0 means DefaultQueue
	Stall    time.Duration // without a chunk, before the next source is asked; 0 means DefaultStall
	Rounds   int           // over all sources; 0 means DefaultRounds
	Pause    time.Duration // between the first two rounds, on average; 0 means DefaultPause
	Remember time.Duration // of a failure; 0 means DefaultRemember
	Rate     int64         // bytes a second that are fetched ahead of any demand; 0 means no bound
	Jitter   time.Duration // of fills ahead; 0 means DefaultJitter, a negative one none
	Logger   *slog.Logger  // nil means nowhere
}

// Validate reports everything that is wrong with the configuration, joined.
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

// set gives a field that was left zero its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
