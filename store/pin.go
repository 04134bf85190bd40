package store

import (
	"sync"

	"brink/digest"
)

// pins names what must not be evicted, although no record needs it yet: blobs and bundles that something is about to
// refer to. A pin is counted; each pin needs one unpin.
//
// A sweep reads the records first and removes what none of them names later. Between the two, an ingest may commit a
// record and let go of its pins:
//
//  1. the sweep reads all records; none names blob X
//  2. an ingest, which has pinned X, commits a record that names X
//  3. the ingest closes and unpins X
//  4. the sweep looks at X: the records that it read do not name it, and it is not pinned
//
// Therefore, while a sweep runs, an unpin is put off until its end. With begin before 1, the order of 1 and 2 does not
// matter: either the sweep reads the record, or the pin of X outlives the sweep.
//
// The other side is an ingest that finds X there and does not ask for it:
//
//  5. the sweep sees that X is not pinned
//  6. an ingest pins X, finds it there, and reports it as not missing
//  7. the sweep removes X
//
// Therefore the sweep holds mu from 5 to 7, and whoever wants to rely on a blob pins it first and looks for it then.
type pins struct {
	mu       sync.Mutex
	count    map[digest.Digest]int
	releases int64 // unpins so far
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
	p.drop(names)
}

func (p *pins) drop(names []digest.Digest) {
	for _, d := range names {
		if p.count[d]--; p.count[d] <= 0 {
			delete(p.count, d)
		}
	}
}

// begin is called before a sweep reads records. There is one sweep at a time.
func (p *pins) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = true
}

func (p *pins) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = false
	if len(p.late) > 0 {
		p.drop(p.late)
		p.late = nil
		p.releases++
	}
}

// held reports whether d is pinned. The caller holds mu.
func (p *pins) held(d digest.Digest) bool { return p.count[d] > 0 }

// has is held for those who do not hold mu.
func (p *pins) has(d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held(d)
}
