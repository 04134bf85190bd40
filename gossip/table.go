package gossip

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/zeebo/blake3"
)

// buckets is the number of parts of a table that are compared one by one. 256 sums are 2 KiB, a packet and a half; if
// one pointer among 10,000 differs, a list of 40 is sent.
const buckets = 256

// pointerTable has the highest pointer that this node has announced, for each kind and name. A pointer is in the bucket
// given by the hash of its key, and each bucket has the sum of the hashes of its pointers.
type pointerTable struct {
	mu   sync.RWMutex
	held [buckets]map[key]Pointer
	sums sums
}

// sums has for each bucket the sum, modulo 2^64, of its pointers' hashes. It detects accidental differences. A member
// could construct pointers that make two different tables look equal, but would only gain that they stay different.
type sums [buckets]uint64

// put stores p if it is higher than the pointer under its key, and reports whether it was.
func (t *pointerTable) put(p Pointer) bool {
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

func (t *pointerTable) get(k key) (Pointer, bool) {
	b := k.hash() >> 56
	t.mu.RLock()
	defer t.mu.RUnlock()
	p, ok := t.held[b][k]
	return p, ok
}

func (t *pointerTable) getSums() sums {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sums
}

func (t *pointerTable) size() int {
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

// list returns the pointers of one bucket whose keys' hashes are from lo to hi, both included, ordered by hash.
func (t *pointerTable) list(lo, hi uint64) []hashed {
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

// hash returns the first 8 bytes of the BLAKE3 of the kind, as one byte, and the name. The first byte is the bucket of
// the key. It is part of the protocol, so it must never change.
func (k key) hash() uint64 {
	var b [1 + maxPointerName]byte
	return hash64(append(append(b[:0], byte(k.kind)), k.name...))
}

// hash returns the first 8 bytes of the BLAKE3 of the encoded pointer.
func (p Pointer) hash() uint64 {
	var b [maxPointer]byte
	return hash64(appendPointer(b[:0], p))
}

func hash64(b []byte) uint64 {
	sum := blake3.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}
