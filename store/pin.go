package store

import (
	"sync"

	"brink/digest"
)

// pins is the set of blobs and bundles that must not be evicted although no record refers to them yet. Pins are
// counted; each pin needs one unpin.
//
// A sweep first reads the records, and later removes what none of them refers to. Between the two, an ingest may commit
// a record and release its pins:
//
//  1. the sweep reads all records; none refers to blob X
//  2. an ingest, which has pinned X, commits a record that refers to X
//  3. the ingest closes and unpins X
//  4. the sweep examines X: the records that it has read do not refer to it, and it is not pinned
//
// Therefore, an unpin during a sweep is delayed until its end. With startSweep before 1, the order of 1 and 2 does not
// matter: either the sweep reads the record, or the pin of X outlives the sweep.
//
// The opposite case is an ingest that finds X and reports it as not missing:
//
//  5. the sweep sees that X is not pinned
//  6. an ingest pins X, finds it, and reports it as not missing
//  7. the sweep removes X
//
// Therefore, the sweep holds mu from 5 to 7, and code that relies on a blob must pin it before looking for it.
type pins struct {
	mu       sync.Mutex
	count    map[digest.Digest]int
	releases int64 // calls of unpin so far
	sweeping bool
	late     []digest.Digest // unpinned during the sweep
}

func newPins() *pins { return &pins{count: make(map[digest.Digest]int)} }

func (p *pins) pin(names ...digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range names {
		p.count[d]++
	}
}

func (p *pins) unpin(names ...digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.releases++
	if p.sweeping {
		p.late = append(p.late, names...)
		return
	}
	p.release(names)
}

func (p *pins) release(names []digest.Digest) {
	for _, d := range names {
		if p.count[d]--; p.count[d] <= 0 {
			delete(p.count, d)
		}
	}
}

// startSweep must be called before a sweep reads records. There is one sweep at a time.
func (p *pins) startSweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = true
}

func (p *pins) finishSweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = false
	if len(p.late) > 0 {
		p.release(p.late)
		p.late = nil
		p.releases++
	}
}

// held reports whether d is pinned. The caller must hold mu.
func (p *pins) held(d digest.Digest) bool { return p.count[d] > 0 }

// has reports whether d is pinned. The caller must not hold mu.
func (p *pins) has(d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held(d)
}
