package gossip

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/zeebo/blake3"
)

// buckets is into how many parts a table is divided for comparing. 256 sums are 2 KiB, a packet and a half; a
// difference of one pointer among 10,000 then costs a list of 40.
const buckets = 256

// table is what this node holds: of each kind and name the highest pointer that was announced. Its pointers lie in
// buckets by the hash of what they are about, and each bucket has the sum of the hashes of its pointers.
type table struct {
	mu   sync.RWMutex
	held [buckets]map[key]Pointer
	sums sums
}

// sums has for each bucket the sum, modulo 2^64, of its pointers' hashes. It tells of accidents: somebody who may
// announce could make two tables look equal, and gains that they stay different.
type sums [buckets]uint64

// put enters p unless one that is as high is there, and reports whether it did.
func (t *table) put(p Pointer) bool {
	k := p.key()
	b := k.hash() >> 56
	t.mu.Lock()
	defer t.mu.Unlock()
	former, ok := t.held[b][k]
	if ok && p.Compare(former) <= 0 {
		return false
	}
	if ok {
		t.sums[b] -= former.hash()
	}
	if t.held[b] == nil {
		t.held[b] = map[key]Pointer{}
	}
	t.held[b][k] = p
	t.sums[b] += p.hash()
	return true
}

func (t *table) get(k key) (Pointer, bool) {
	b := k.hash() >> 56
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok := t.held[b][k]
	return p, ok
}

func (t *table) summed() sums {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sums
}

func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for _, held := range t.held {
		n += len(held)
	}
	return n
}

// hashed is a pointer with the hash of its key.
type hashed struct {
	hash    uint64
	pointer Pointer
}

// between returns the pointers of one bucket whose keys' hashes are from lo to hi, both included, in their order.
func (t *table) between(lo, hi uint64) []hashed {
	var list []hashed
	t.mu.RLock()
	for k, p := range t.held[lo>>56] {
		if h := k.hash(); lo <= h && h <= hi {
			list = append(list, hashed{h, p})
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(list, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	return list
}

// hash is the same on all nodes and for ever: its first byte is the bucket of the key. It is the beginning of the
// BLAKE3 of the kind, as one byte, and the name.
func (k key) hash() uint64 {
	var b [1 + maxPointerName]byte
	return hash64(append(append(b[:0], byte(k.kind)), k.name...))
}

// hash is the beginning of the BLAKE3 of the pointer as it travels.
func (p Pointer) hash() uint64 {
	var b [maxPointer]byte
	return hash64(appendPointer(b[:0], p))
}

func hash64(b []byte) uint64 {
	sum := blake3.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
