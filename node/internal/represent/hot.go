package represent

import (
	"cmp"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"

	"brink/digest"
	"brink/node/internal/bundles"
	"brink/node/internal/serve"
	"brink/node/internal/wire"
)

// Hot caches whole representations in RAM, those that are requested most (TinyLFU, https://arxiv.org/abs/1512.00727).
// They were verified when they were loaded, and are never written to.
//
// A representation that is evicted from the set stays in RAM until the last answer that sends it has ended. To bound
// what slow clients occupy, a representation is loaded only if the memory of all, in the set and evicted, is then
// within the size of the set plus a spare. To make room, answers are cut whose representation was evicted longer ago
// than the grace. While there is no room, representations that are not in the set are sent as streams.
type Hot struct {
	cache    *ristretto.Cache[uint64, *held] // by the first bytes of the name; nil: nothing is cached
	size     int64
	direct   bool // whether connections are plain TCP, which can send a wire.Held
	loads    singleflight.Group
	files    atomic.Int64  // representations that are held as files
	maxFiles int64         // each takes a descriptor, and connections need theirs
	grace    time.Duration // see HotConfig

	mu           sync.Mutex
	bytes        int64     // in the set, evicted or being loaded
	evicted      list.List // of *held: evicted and still in use, oldest first
	evictedBytes int64     // of them
	cutBytes     int64     // of those of them whose answers were cut
	cut          int64     // answers
	uses         int64     // that have not ended
}

// held is an entry of the set, and the owner of its bytes.
type held struct {
	serve.Whole // has an owner if its users are counted

	set  *Hot
	name digest.Digest // in full

	// The mutex of the set guards these.
	inSet     bool
	users     int           // that have acquired and not released it
	answers   *sending      // those users that are answers, a list
	element   *list.Element // of Hot.evicted, or nil
	evictedAt time.Time
	cut       bool
}

// Fractions of the set: the largest representation, because a single large one must not evict all others; and the
// spare, for what is loaded before the set evicts something, and for evicted representations.
const (
	largestShare = 8
	spareShare   = 4
)

// DefaultGrace is the minimum time that answers have to send an evicted representation: as long as package wire checks
// a response for stalls only.
const DefaultGrace = wire.DefaultGrace

// countedFrom is the size in bytes from which users of a representation are counted. Smaller ones fit into the
// kernel's send buffer (16 KiB by default, tcp(7)), so that their answers end at once, however slow the client is.
const countedFrom = 16 << 10

// Representations between these sizes in bytes are held as files that the kernel sends without copying, which halves
// the processor time of a request. For smaller ones it gains nothing. Larger ones are sent in pieces that stay in the
// processor's cache, where copying is faster than handing over pages (docs/performance.md).
const (
	directFrom = countedFrom // users of files are always counted
	directTo   = 1 << 20
)

// HotConfig configures a set. The zero value caches nothing.
type HotConfig struct {
	Size   int64         // bytes
	Direct bool          // whether connections are plain TCP
	Grace  time.Duration // default: DefaultGrace
}

// NewHot returns an empty set.
func NewHot(config HotConfig) (*Hot, error) {
	h := &Hot{
		size: max(config.Size, 0), direct: config.Direct, maxFiles: int64(wire.MaxHeld(wire.Descriptors())),
		grace: cmp.Or(config.Grace, DefaultGrace),
	}
	if h.size == 0 {
		return h, nil
	}
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *held]{
		// Ten for each entry of a typical size, and 64, are what its documentation advises.
		NumCounters: max(1000, h.size/(16<<10)*10),
		BufferItems: 64,
		MaxCost:     h.size,
		Metrics:     true,
		OnExit:      h.evict,
	})
	if err != nil {
		return nil, fmt.Errorf("hot set: %w", err)
	}
	h.cache = cache
	return h, nil
}

// Close evicts everything. What answers still send stays in memory until they end.
func (h *Hot) Close() {
	if h.cache != nil {
		h.cache.Close()
	}
}

// Metrics returns the figures of the set, nil if nothing is cached.
func (h *Hot) Metrics() *ristretto.Metrics {
	if h.cache == nil {
		return nil
	}
	return h.cache.Metrics
}

// HotStats are figures of the memory of a set, and of evicted representations that are still being sent.
type HotStats struct {
	Held    int64 // bytes in the set, evicted or being loaded
	Evicted int64 // those of them that were evicted
	Files   int64 // representations that are held as files
	Uses    int64 // of representations whose users are counted, that have not ended
	Cut     int64 // answers that were cut so far
}

// Stats returns the figures of the set.
func (h *Hot) Stats() HotStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HotStats{Held: h.bytes, Evicted: h.evictedBytes, Files: h.files.Load(), Uses: h.uses, Cut: h.cut}
}

// Largest returns the size in bytes up to which a representation is sent from RAM.
func (h *Hot) Largest() int64 { return h.size / largestShare }

// keyOf returns the key of a name: part of the digest, since its bytes are as good as random. An attacker can construct
// two names with the same key, so the whole name is compared too.
func keyOf(name digest.Digest) uint64 { return binary.LittleEndian.Uint64(name[:8]) }

// Find returns the representation with a name and acquires it, or returns nil.
func (h *Hot) Find(name digest.Digest) *serve.Whole {
	if h.cache == nil {
		return nil
	}
	if found, ok := h.cache.Get(keyOf(name)); ok && found.name == name && h.acquire(found) {
		return &found.Whole
	}
	return nil
}

// Load loads and acquires a representation that Find has not found, once for all that wait for it. read returns it
// verified; size is its expected size in bytes. The error is [serve.ErrNoMemory] if there is no room.
func (h *Hot) Load(name digest.Digest, size int64, read func() (*serve.Whole, error)) (*serve.Whole, error) {
	for {
		mine := false
		loaded, err, _ := h.loads.Do(name.String(), func() (any, error) {
			one, err := h.load(name, size, read)
			mine = err == nil
			return one, err
		})
		if err != nil {
			return nil, err
		}
		if one := loaded.(*held); mine || h.acquire(one) {
			return &one.Whole, nil
		} // else it was not admitted to the set, and the caller that loaded it has released it
	}
}

func (h *Hot) load(name digest.Digest, size int64, read func() (*serve.Whole, error)) (*held, error) {
	if !h.reserve(size) {
		return nil, serve.ErrNoMemory
	}
	more, uses := -size, int64(0) // relative to the reservation: nothing is loaded yet
	defer func() { h.add(more, uses) }()
	whole, err := read()
	if err != nil {
		return nil, err
	}
	one := &held{Whole: *whole, set: h, name: name, inSet: true}
	if one.Size() >= countedFrom {
		one.Owner, one.users, uses = one, 1, 1
	}
	more = one.Size() - size
	if h.cache == nil || !h.cache.Set(keyOf(name), one, one.Size()) {
		h.evict(one)
	}
	return one, nil
}

// read reads a representation of size bytes into the form that is best to send, and closes r. If it cannot be held as a
// file, for any reason, it is held as bytes; an error of r occurs again then.
func (h *Hot) read(r bundles.Reader, size int64) (*serve.Whole, error) {
	var failed error
	if h.direct && h.cache != nil && size >= directFrom && size <= directTo && h.files.Load() < h.maxFiles {
		direct, err := wire.NewHeld(r, size)
		if err == nil {
			if err := r.Close(); err != nil {
				return nil, errors.Join(err, direct.Close())
			}
			h.files.Add(1)
			return &serve.Whole{Held: direct}, nil
		}
		failed = err
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return nil, errors.Join(failed, err, r.Close())
		}
	}
	data, err := serve.ReadAll(r, size)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	return &serve.Whole{Data: data}, nil
}

// reserve reserves n bytes before something is loaded, and reports whether there is room for them. To make room it cuts
// answers, which release their memory a moment later, for the next call.
func (h *Hot) reserve(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	most := h.size + h.size/spareShare
	for e := h.evicted.Front(); e != nil && h.bytes-h.cutBytes+n > most; e = e.Next() {
		one := e.Value.(*held)
		if one.cut {
			continue
		}
		if time.Since(one.evictedAt) < h.grace {
			break
		}
		one.cut = true
		h.cutBytes += one.Size()
		for s := one.answers; s != nil; s = s.next {
			h.cutAnswer(s)
		}
	}
	if n > 0 && h.bytes+n > most {
		return false
	}
	h.bytes += n
	return true
}

func (h *Hot) add(bytes, uses int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes += bytes
	h.uses += uses
}

// acquire adds a user of a representation, and reports whether that is still in memory.
func (h *Hot) acquire(one *held) bool {
	if one.Owner == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !one.inSet && one.users == 0 || one.cut {
		return false
	}
	one.users++
	h.uses++
	return true
}

// Release implements [serve.Owner].
func (one *held) Release() {
	one.set.mu.Lock()
	one.set.release(one)
}

// release removes a user, and unlocks mu.
func (h *Hot) release(one *held) {
	one.users--
	h.uses--
	h.unlock(one)
}

// evict is called for each representation that the set does not admit, or evicts.
func (h *Hot) evict(one *held) {
	if one == nil {
		return
	}
	h.mu.Lock()
	if !one.inSet {
		h.mu.Unlock()
		return
	}
	one.inSet = false
	h.unlock(one)
}

// unlock unlocks mu after a reference to one was removed, and frees its memory if that was the last.
func (h *Hot) unlock(one *held) {
	ended := !one.inSet && one.users == 0
	switch {
	case ended:
		h.bytes -= one.Size()
		if one.element != nil {
			h.evicted.Remove(one.element)
			h.evictedBytes -= one.Size()
		}
		if one.cut {
			h.cutBytes -= one.Size()
		}
	case !one.inSet && one.element == nil:
		one.element, one.evictedAt = h.evicted.PushBack(one), time.Now()
		h.evictedBytes += one.Size()
	}
	h.mu.Unlock()
	if ended && one.Held != nil {
		_ = one.Held.Close() // of memory that nobody reads any more
		h.files.Add(-1)
	}
}
