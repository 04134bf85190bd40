package sign

import (
	"errors"
	"sync"
	"time"
)

// MaxOnce bounds the requests that an [Once] remembers: more than 200 a second, for as long as each can be replayed.
const MaxOnce = 1 << 16

// Returned by [Once.Take].
var (
	// ErrRepeated is returned for a request that was received before.
	ErrRepeated = errors.New("request was received before: somebody has replayed it")
	// ErrTooMany is returned if there were too many requests recently to remember another one.
	ErrTooMany = errors.New("too many signed requests")
)

// Once refuses replays of verified requests, for methods that must not have their effect twice. The zero value is ready
// to use. It is safe for concurrent use.
type Once struct {
	mu   sync.Mutex
	seen map[string]int64 // the last unix second at which the request is valid, by nonce
	next int64            // when to remove expired ones
}

// Take records a request that [Ring.Verify] has just accepted at the time now. It returns nil for the first call with a
// field, and an error for any other call.
func (o *Once) Take(field string, now time.Time) error {
	_, nonce, _, ok := parse(field)
	sent, dated := Sent(field)
	if !ok || !dated {
		return ErrUnsigned
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, seen := o.seen[nonce]; seen {
		return ErrRepeated
	}
	if now.Unix() >= o.next || len(o.seen) >= MaxOnce {
		for nonce, until := range o.seen {
			if until < now.Unix() {
				delete(o.seen, nonce)
			}
		}
		o.next = now.Add(Skew / 2).Unix()
	}
	if len(o.seen) >= MaxOnce {
		return ErrTooMany
	}
	if o.seen == nil {
		o.seen = map[string]int64{}
	}
	o.seen[nonce] = sent.Add(Skew).Unix()
	return nil
}
