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

// Hot keeps whole representations in RAM, the ones that are wanted most (TinyLFU, https://arxiv.org/abs/1512.00727).
// What it holds was verified when it was loaded, and is never written to.
//
// What the set gives up stays in RAM until the last answer that sends it has ended. So that slow clients do not hold
// any amount, a representation is brought in only if all that is held then, by the set or by answers, is within the
// size of the set and a spare. For the room, the answers are cut that send what left the set longer than patience ago.
// As long as there is none, what is not in the set is sent as a stream.
type Hot struct {
	cache    *ristretto.Cache[uint64, *held] // by the first bytes of the name; nil: nothing is kept
	size     int64
	direct   bool // whether connections are plain TCP, which can send what package wire holds
	loads    singleflight.Group
	files    atomic.Int64  // how many are held as files
	most     int64         // of them; each takes a descriptor, and connections need theirs
	patience time.Duration // see HotConfig

	mu      sync.Mutex
	bytes   int64     // that are held, or are being brought in
	leaving list.List // of *held: what the set gave up and answers still send, in that order
	left    int64     // bytes of them
	ending  int64     // of those, bytes whose answers were cut
	cut     int64     // answers
	uses    int64     // that have not ended
}

// held is an entry of the set, and the owner of its bytes.
type held struct {
	serve.Whole // has an owner if those who use it are counted

	set  *Hot
	name digest.Digest // the whole of it

	// The mutex of the set guards these.
	kept    bool          // by the set
	users   int           // have taken it and not given it back
	answers *sending      // of the users, a list
	left    *list.Element // nil: not in leaving
	since   time.Time     // it left
	cut     bool
}

// Parts of the set: what one representation may take, because a single large one must not empty it; and the spare, for
// what comes in before the set gives something up, and for what it gave up.
const (
	largestShare = 8
	spareShare   = 4
)

// DefaultPatience is how long answers may at least take to send what the set gave up: as long as package wire judges a
// response by stalls alone.
const DefaultPatience = wire.DefaultGrace

// countedFrom is the size in bytes from which users of a representation are counted. What is smaller fits into the
// kernel's send buffer (16 KiB by default, tcp(7)), so that its answers end at once, however slow the client is.
const countedFrom = 16 << 10

// Between these sizes in bytes a representation is held so that the kernel sends it without copying, which halves the
// processor time of a request. For smaller ones it is no gain; larger ones go out in pieces that stay in the
// processor's cache, where copying is faster than handing over pages (docs/performance.md).
const (
	directFrom = countedFrom // all that are files are counted
	directTo   = 1 << 20
)

// HotConfig says how large a set is. The zero value is one that keeps nothing.
type HotConfig struct {
	Size     int64         // bytes
	Direct   bool          // whether connections are plain TCP
	Patience time.Duration // default: DefaultPatience
}

// NewHot returns a set.
func NewHot(config HotConfig) (*Hot, error) {
	h := &Hot{
		size: max(config.Size, 0), direct: config.Direct, most: int64(wire.MaxHeld(wire.Descriptors())),
		patience: cmp.Or(config.Patience, DefaultPatience),
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
		OnExit:      h.gone,
	})
	if err != nil {
		return nil, fmt.Errorf("hot set: %w", err)
	}
	h.cache = cache
	return h, nil
}

// Close gives up all that is kept. What answers still send stays until they end.
func (h *Hot) Close() {
	if h.cache != nil {
		h.cache.Close()
	}
}

// Metrics returns the figures of the set, nil if nothing is kept.
func (h *Hot) Metrics() *ristretto.Metrics {
	if h.cache == nil {
		return nil
	}
	return h.cache.Metrics
}

// HotStats are figures of what is held by a set, or by answers that send what it gave up.
type HotStats struct {
	Held  int64 // bytes that are held, or are being brought in
	Left  int64 // bytes of them that the set gave up
	Files int64 // of those that are held
	Uses  int64 // of what is counted, that have not ended
	Cut   int64 // answers that were cut so far
}

// Stats returns the figures of what is held.
func (h *Hot) Stats() HotStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HotStats{Held: h.bytes, Left: h.left, Files: h.files.Load(), Uses: h.uses, Cut: h.cut}
}

// Largest returns the size in bytes up to which a representation is sent from RAM.
func (h *Hot) Largest() int64 { return h.size / largestShare }

// keyOf returns the key of a name. A digest is as good as random, so a part of it will do; that two names may be made
// to share it is why the whole name is compared.
func keyOf(name digest.Digest) uint64 { return binary.LittleEndian.Uint64(name[:8]) }

// Find returns what is kept under a name, or nil.
func (h *Hot) Find(name digest.Digest) *serve.Whole {
	if h.cache == nil {
		return nil
	}
	if found, ok := h.cache.Get(keyOf(name)); ok && found.name == name && h.take(found) {
		return &found.Whole
	}
	return nil
}

// Load brings in what Find has not found, of so many bytes as far as that is known: once, however many wait. What read
// returns is verified. The error is [serve.ErrCrowded] if there is no room.
func (h *Hot) Load(name digest.Digest, size int64, read func() (*serve.Whole, error)) (*serve.Whole, error) {
	for {
		mine := false
		loaded, err, _ := h.loads.Do(name.String(), func() (any, error) {
			one, err := h.bring(name, size, read)
			mine = err == nil
			return one, err
		})
		if err != nil {
			return nil, err
		}
		if one := loaded.(*held); mine || h.take(one) {
			return &one.Whole, nil
		} // else the set did not keep it, and who loaded it has given it back
	}
}

func (h *Hot) bring(name digest.Digest, size int64, read func() (*serve.Whole, error)) (*held, error) {
	if !h.reserve(size) {
		return nil, serve.ErrCrowded
	}
	more, uses := -size, int64(0) // than was reserved: nothing is here yet
	defer func() { h.add(more, uses) }()
	whole, err := read()
	if err != nil {
		return nil, err
	}
	one := &held{Whole: *whole, set: h, name: name, kept: true}
	if one.Size() >= countedFrom {
		one.Owner, one.users, uses = one, 1, 1
	}
	more = one.Size() - size
	if h.cache == nil || !h.cache.Set(keyOf(name), one, one.Size()) {
		h.gone(one)
	}
	return one, nil
}

// read reads a representation of so many bytes into the form in which it is sent best, and closes r. What cannot be
// held as a file, for whatever reason, is sent as bytes; if r was the reason, that shows again.
func (h *Hot) read(r bundles.Reader, size int64) (*serve.Whole, error) {
	var failed error
	if h.direct && h.cache != nil && size >= directFrom && size <= directTo && h.files.Load() < h.most {
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

// reserve takes so many bytes before something is brought in, and reports whether there is room for them. Answers that
// are cut give theirs back in a moment: for whoever comes next.
func (h *Hot) reserve(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	most := h.size + h.size/spareShare
	for e := h.leaving.Front(); e != nil && h.bytes-h.ending+n > most; e = e.Next() {
		one := e.Value.(*held)
		if one.cut {
			continue
		}
		if time.Since(one.since) < h.patience {
			break
		}
		one.cut = true
		h.ending += one.Size()
		for s := one.answers; s != nil; s = s.next {
			h.end(s)
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

// take says that somebody uses one, and reports whether it is still there.
func (h *Hot) take(one *held) bool {
	if one.Owner == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !one.kept && one.users == 0 || one.cut {
		return false
	}
	one.users++
	h.uses++
	return true
}

// GiveBack implements [serve.Owner].
func (one *held) GiveBack() {
	one.set.mu.Lock()
	one.set.unuse(one)
}

// unuse ends a use, and unlocks mu.
func (h *Hot) unuse(one *held) {
	one.users--
	h.uses--
	h.unlock(one)
}

// gone is called for what the set does not keep, or keeps no longer.
func (h *Hot) gone(one *held) {
	if one == nil {
		return
	}
	h.mu.Lock()
	if !one.kept {
		h.mu.Unlock()
		return
	}
	one.kept = false
	h.unlock(one)
}

// unlock unlocks mu after fewer refer to one than did before. The last of them takes its memory along.
func (h *Hot) unlock(one *held) {
	ended := !one.kept && one.users == 0
	switch {
	case ended:
		h.bytes -= one.Size()
		if one.left != nil {
			h.leaving.Remove(one.left)
			h.left -= one.Size()
		}
		if one.cut {
			h.ending -= one.Size()
		}
	case !one.kept && one.left == nil:
		one.left, one.since = h.leaving.PushBack(one), time.Now()
		h.left += one.Size()
	}
	h.mu.Unlock()
	if ended && one.Held != nil {
		_ = one.Held.Close() // of memory, which nobody reads any more
		h.files.Add(-1)
	}
}
