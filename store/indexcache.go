package store

import (
	"container/list"
	"sync"

	"golang.org/x/sync/singleflight"

	"brink/bundle"
	"brink/digest"
)

// indexCacheSize limits the total encoded size of cached indexes. Their decoded size is about the same.
const indexCacheSize = 32 << 20

// indexCache is an LRU cache of decoded indexes, by their digest. The zero value is ready to use.
type indexCache struct {
	mu    sync.Mutex
	order list.List // of cachedIndex, most recently used first
	names map[digest.Digest]*list.Element
	size  int64

	loads singleflight.Group
}

type cachedIndex struct {
	name digest.Digest
	ix   *bundle.Index
	size int64
}

// load returns the named index, and calls read if it is not cached, only once for concurrent calls: after a start, the
// first devices all need the same indexes, and decoding one takes milliseconds.
func (c *indexCache) load(name digest.Digest, read func() (*bundle.Index, int64, error)) (*bundle.Index, error) {
	if ix := c.get(name); ix != nil {
		return ix, nil
	}
	loaded, err, _ := c.loads.Do(name.String(), func() (any, error) {
		ix, size, err := read()
		if err == nil {
			c.put(name, ix, size)
		}
		return ix, err
	})
	return loaded.(*bundle.Index), err
}

func (c *indexCache) get(name digest.Digest) *bundle.Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.names[name]
	if element == nil {
		return nil
	}
	c.order.MoveToFront(element)
	return element.Value.(cachedIndex).ix
}

func (c *indexCache) put(name digest.Digest, ix *bundle.Index, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = make(map[digest.Digest]*list.Element)
	}
	if c.names[name] != nil || size > indexCacheSize {
		return
	}
	c.names[name] = c.order.PushFront(cachedIndex{name, ix, size})
	for c.size += size; c.size > indexCacheSize; {
		oldest := c.order.Remove(c.order.Back()).(cachedIndex)
		delete(c.names, oldest.name)
		c.size -= oldest.size
	}
}
