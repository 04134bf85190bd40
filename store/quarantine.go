package store

import (
	"log/slog"
	"sync"
	"time"

	"brink/digest"
)

// maxQuarantine limits how many damaged blobs are listed; all are counted.
const maxQuarantine = 1000

// Damage is a blob that was found damaged and is in quarantine.
type Damage struct {
	Digest digest.Digest `json:"digest"`
	Found  time.Time     `json:"found"`
	Reason string        `json:"reason"`
}

// quarantine records damaged blobs, up to a maximum. The upkeep goroutine saves the list, not the reader that found the
// damage.
type quarantine struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	count int64
	list  []Damage
	dirty bool
}

func (q *quarantine) add(d digest.Digest, reason error) {
	q.mu.Lock()
	q.count++
	if len(q.list) < maxQuarantine {
		q.list = append(q.list, Damage{Digest: d, Found: q.now().UTC(), Reason: reason.Error()})
		q.dirty = true
	}
	q.mu.Unlock()
	q.log.Error("damaged blob quarantined", "digest", d, "reason", reason)
}

// changed returns the list, and whether it has changed since the last call.
func (q *quarantine) changed() ([]Damage, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dirty := q.dirty
	q.dirty = false
	return append([]Damage(nil), q.list...), dirty
}

func (q *quarantine) damaged() (count int64, list []Damage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count, append([]Damage(nil), q.list...)
}
