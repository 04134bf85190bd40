package wire

import "time"

// never is longer than any connection lives, and short enough to be added to a time.
const never = 365 * 24 * time.Hour

// pace is the progress of one request or response. It does arithmetic only and does not read the clock.
type pace struct {
	waited time.Duration // for the peer, in total
	quiet  time.Duration // for the peer, since bytes last moved
	moved  int64         // bytes
}

// limits are the limits of a pace; zero means no limit.
type limits struct {
	stall, grace time.Duration
	rate         int64 // bytes per second
}

// add records that n bytes moved during a wait of d.
func (p *pace) add(d time.Duration, n int64) {
	p.waited += d
	p.quiet += d
	if n > 0 {
		p.moved += n
		p.quiet = 0
	}
}

// left returns how long the peer may move no bytes before a limit is exceeded, and the error of that limit. The limit
// is exceeded if it returns no more than 0.
func (p *pace) left(l limits) (time.Duration, error) {
	left, cause := never, error(nil)
	if l.stall > 0 {
		left, cause = l.stall-p.quiet, ErrStalled
	}
	if l.rate > 0 {
		// Whole seconds suffice, and avoid an overflow of nanoseconds for large responses.
		earned := min(time.Duration(p.moved/l.rate), never/time.Second) * time.Second
		if slow := l.grace + earned - p.waited; slow < left {
			left, cause = slow, ErrSlow
		}
	}
	return left, cause
}
