package store

import (
	"log/slog"
	"sync"
	"time"

	"brink/digest"
)

// maxQuarantine bounds how many damaged blobs are remembered; all of them are counted.
const maxQuarantine = 1000

// Damage is one blob that was found damaged and set aside.
type Damage struct {
	Digest digest.Digest `json:"digest"`
	Found  time.Time     `json:"found"`
	Reason string        `json:"reason"`
}

// quarantine remembers damaged blobs, the newest first to go when there are too many. They are written to meta by the
// upkeep goroutine, not by the reader who found them.
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
	q.log.Error("damaged blob set aside", "digest", d, "reason", reason)
}

// take returns the list if it has changed since it was taken last.
func (q *quarantine) take() ([]Damage, bool) {
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
