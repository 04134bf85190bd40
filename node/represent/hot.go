package represent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"

	"brink/digest"
	"brink/node/bundles"
	"brink/node/serve"
	"brink/node/wire"
)

// Hot keeps whole representations in RAM, the ones that are wanted most (TinyLFU, https://arxiv.org/abs/1512.00727).
// What it holds was verified when it was loaded, and is never written to. What it gives up goes when the last response
// that sends it has ended.
type Hot struct {
	cache  *ristretto.Cache[uint64, *held] // by the first bytes of the name; nil: nothing is kept
	size   int64
	direct bool // whether connections are plain TCP, which can send what package wire holds
	loads  singleflight.Group
	files  atomic.Int64 // how many are held as files
	most   int64        // of them; each takes a descriptor, and connections need theirs
}

// held is an entry of the set.
type held struct {
	serve.Whole

	name digest.Digest // the whole of it
}

// largestShare is the part of the set that one representation may take: a single large one must not empty it.
const largestShare = 8

// Between these sizes in bytes a representation is held so that the kernel sends it without copying, which halves the
// processor time of a request. For smaller ones it is no gain; larger ones go out in pieces that stay in the
// processor's cache, where copying is faster than handing over pages (docs/performance.md).
const (
	directFrom = 16 << 10
	directTo   = 1 << 20
)

// NewHot returns a set of so many bytes; direct says that connections are plain TCP.
func NewHot(size int64, direct bool) (*Hot, error) {
	h := &Hot{size: max(size, 0), direct: direct, most: int64(wire.MaxHeld(wire.Descriptors()))}
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
	if found, ok := h.cache.Get(keyOf(name)); ok && found.name == name {
		return &found.Whole
	}
	return nil
}

// Load brings in what Find has not found: once, however many wait. What read returns is verified.
func (h *Hot) Load(name digest.Digest, read func() (*serve.Whole, error)) (*serve.Whole, error) {
	loaded, err, _ := h.loads.Do(name.String(), func() (any, error) {
		whole, err := read()
		if err != nil {
			return nil, err
		}
		one := &held{Whole: *whole, name: name}
		if h.cache != nil && !h.cache.Set(keyOf(name), one, one.Size()) {
			h.gone(one)
		}
		return one, nil
	})
	if err != nil {
		return nil, err
	}
	return &loaded.(*held).Whole, nil
}

// read reads a representation of so many bytes into the form in which it is sent best, and closes r. What can not be
// held as a file, for whatever reason, is sent as bytes; if r was the reason, that shows again.
func (h *Hot) read(r bundles.Reader, size int64) (*serve.Whole, error) {
	var failed error
	if h.direct && h.cache != nil && size >= directFrom && size <= directTo && h.files.Load() < h.most {
		direct, err := wire.NewHeld(r, size)
		if err == nil {
			h.files.Add(1)
			return &serve.Whole{Held: direct}, r.Close()
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

// gone is called for what the set does not keep, or keeps no longer.
func (h *Hot) gone(one *held) {
	if one != nil && one.Held != nil {
		h.files.Add(-1)
	}
}
