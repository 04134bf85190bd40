package store

import (
	"container/list"
	"sync"

	"brink/bundle"
	"brink/digest"
)

// indexCacheSize bounds the encoded bytes of the indexes that are kept decoded. Decoded they take about as much again.
const indexCacheSize = 32 << 20

// indexCache keeps the indexes that were used last, by their digest. The zero value is ready.
type indexCache struct {
	mu    sync.Mutex
	order list.List // of cachedIndex, used last in front
	names map[digest.Digest]*list.Element
	size  int64
}

type cachedIndex struct {
	name digest.Digest
	ix   *bundle.Index
	size int64
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
