package store

import (
	"container/list"
	"sync"

	"golang.org/x/sync/singleflight"

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

	loads singleflight.Group
}

type cachedIndex struct {
	name digest.Digest
	ix   *bundle.Index
	size int64
}

// load returns the index of that name, and has it read if it is not kept: once, however many wait. The first devices
// after a start all want the same ones, and to decode one takes milliseconds.
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
