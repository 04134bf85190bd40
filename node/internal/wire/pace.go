package wire

import "time"

// never is longer than any connection lives, and short enough to be added to a time.
const never = 365 * 24 * time.Hour

// pace is how one request or response has moved so far. It is arithmetic only and reads no clock.
type pace struct {
	waited time.Duration // for the peer, in all
	quiet  time.Duration // of it, since something last moved
	moved  int64         // bytes
}

// limits are what a pace is judged by; zero means no limit.
type limits struct {
	stall, grace time.Duration
	rate         int64 // bytes per second
}

// add takes note that waiting for d moved n bytes.
func (p *pace) add(d time.Duration, n int64) {
	p.waited += d
	p.quiet += d
	if n > 0 {
		p.moved += n
		p.quiet = 0
	}
}

// left returns how long the peer may be waited for without a byte until a limit is passed, and which limit that is.
// Nothing left means that it is passed.
func (p *pace) left(l limits) (time.Duration, error) {
	left, cause := never, error(nil)
	if l.stall > 0 {
		left, cause = l.stall-p.quiet, ErrStalled
	}
	if l.rate > 0 {
		// Whole seconds suffice, and nanoseconds would overflow for large responses.
		earned := min(time.Duration(p.moved/l.rate), never/time.Second) * time.Second
		if slow := l.grace + earned - p.waited; slow < left {
			left, cause = slow, ErrSlow
		}
	}
	return left, cause
}
