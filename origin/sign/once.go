package sign

import (
	"errors"
	"sync"
	"time"
)

// MaxOnce bounds the requests that an [Once] remembers: more than 200 a second, for as long as each can be repeated.
const MaxOnce = 1 << 16

// Returned by [Once.Take].
var (
	// ErrRepeated is returned for a request that came before.
	ErrRepeated = errors.New("request came before: it was repeated by somebody who has overheard it")
	// ErrTooMany is returned when so many requests came lately that no more can be remembered.
	ErrTooMany = errors.New("too many signed requests")
)

// Once refuses requests that were verified before, for methods that must not have their effect again. The zero value is
// ready; it is safe for concurrent use.
type Once struct {
	mu   sync.Mutex
	seen map[string]int64 // the last unix second at which the request counts, by nonce
	next int64            // when those that do not count any more are looked for
}

// Take returns nil for the first call with the field of a request that [Ring.Verify] has just accepted at the time now,
// and an error for any other call.
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
