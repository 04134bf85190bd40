package node

import (
	"context"
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"
)

// hot keeps whole representations in RAM, the ones that are wanted most (TinyLFU, https://arxiv.org/abs/1512.00727).
// What it holds was verified when it was loaded, and is never written to.
type hot struct {
	cache *ristretto.Cache[string, []byte] // nil: nothing is kept
	size  int64
	loads singleflight.Group
}

// largestShare is the part of the set that one representation may take: a single large one must not empty it.
const largestShare = 8

func newHot(size int64) (*hot, error) {
	h := &hot{size: max(size, 0)}
	if h.size == 0 {
		return h, nil
	}
	cache, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters: max(
			1000,
			h.size/(16<<10)*10,
		), // ten for each entry of a typical size, as its documentation advises
		MaxCost:     h.size,
		BufferItems: 64, // the documentation's value
		Metrics:     true,
	})
	if err != nil {
		return nil, fmt.Errorf("hot set: %w", err)
	}
	h.cache = cache
	return h, nil
}

func (h *hot) close() {
	if h.cache != nil {
		h.cache.Close()
	}
}

// largest returns the size in bytes up to which a representation is sent from RAM.
func (h *hot) largest() int64 { return h.size / largestShare }

// get returns what is kept under key, or loads it: once, however many wait. The load runs on ctx, which is the node's.
func (h *hot) get(ctx context.Context, key string, load func(context.Context) ([]byte, error)) ([]byte, error) {
	if h.cache != nil {
		if found, ok := h.cache.Get(key); ok {
			return found, nil
		}
	}
	loaded, err, _ := h.loads.Do(key, func() (any, error) {
		data, err := load(ctx)
		if err == nil && h.cache != nil {
			h.cache.Set(key, data, int64(len(data)))
		}
		return data, err
	})
	if err != nil {
		return nil, err
	}
	return loaded.([]byte), nil
}
