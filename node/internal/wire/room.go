package wire

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultConnections returns how many connections a process should have open at most, given how many descriptors it may
// have; 0 means no limit, for both. It subtracts reserved, 64 for the operators' listener, gossip and outgoing
// connections, and those of [Held] files, see [MaxHeld]. Half of the rest is for connections, because each needs a
// second descriptor while its response is read from disk. The result is at least a quarter of all descriptors, even if
// that does not leave enough for everything else.
func DefaultConnections(descriptors uint64, reserved int) int {
	if descriptors == 0 {
		return 0
	}
	all := int(min(descriptors, 1<<30))
	return max(1, all/4, (all-64-reserved-MaxHeld(descriptors))/2)
}

// MaxHeld returns how many [Held] a process should have at most, given how many descriptors it may have.
func MaxHeld(descriptors uint64) int {
	const most = 1024
	if descriptors == 0 {
		return most
	}
	return int(min(most, descriptors/8))
}

// reportEvery is the minimum interval between calls of Config.OnFull: a full node is full for each new connection.
const reportEvery = time.Minute

// room bounds how many connections are open.
type room struct {
	limit   int // 0: no limit
	onFull  func()
	start   time.Time
	waiting atomic.Bool   // whether makeRoom waits for freed
	freed   chan struct{} // has a buffer of one

	mu         sync.Mutex // held by makeRoom
	reported   bool
	reportedAt time.Time
	oldest     []candidate // those idle for longest at the last findIdle, in order
	displaced  atomic.Int64
}

// candidate is a connection that was idle since a moment. If its idleSince is unchanged, it still is.
type candidate struct {
	conn  *Conn
	since int64
}

func (r *room) init(config Config) {
	r.limit, r.onFull = max(config.Connections, 0), config.OnFull
	if config.Connections == 0 {
		r.limit = DefaultConnections(Descriptors(), config.Reserved)
	}
	r.start, r.freed = time.Now(), make(chan struct{}, 1)
}

// moment is now as a positive number, for [Conn.idleSince].
func (r *room) moment(now time.Time) int64 { return max(1, int64(now.Sub(r.start))) }

// notify wakes makeRoom, because a connection has ended or become idle.
func (r *room) notify() {
	if r.waiting.Load() {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// makeRoom returns when one more connection may be opened. If the limit is reached, it closes the one that has been
// idle for longest; if none is idle, it waits.
func (l *Listener) makeRoom() error {
	if l.room.limit == 0 {
		return nil
	}
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	defer l.room.waiting.Store(false)
	for l.isFull() {
		l.reportFull()
		if l.closeIdlest() {
			continue
		}
		if !l.room.waiting.Swap(true) {
			continue // connections that became idle before this did not notify
		}
		select {
		case <-l.room.freed:
		case <-l.done:
			return net.ErrClosed
		}
	}
	return nil
}

func (l *Listener) isFull() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open) >= l.room.limit
}

func (l *Listener) reportFull() {
	now := time.Now()
	if l.room.onFull == nil || l.room.reported && now.Sub(l.room.reportedAt) < reportEvery {
		return
	}
	l.room.reported, l.room.reportedAt = true, now
	l.room.onFull()
}

// closeIdlest closes the connection that has been idle for longest, and reports whether there was one. It searches all
// connections only after it has tried those found by the previous search: all others became idle later.
func (l *Listener) closeIdlest() bool {
	for range 2 {
		for len(l.room.oldest) > 0 {
			next := l.room.oldest[0]
			l.room.oldest = l.room.oldest[1:]
			if next.conn.displace(next.since) {
				l.room.displaced.Add(1)
				return true
			}
		}
		l.findIdle()
	}
	return false
}

func (l *Listener) findIdle() {
	var idle []candidate
	l.mu.Lock()
	for c := range l.open {
		if since := c.idleSince.Load(); since != 0 {
			idle = append(idle, candidate{c, since})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(a.since, b.since) })
	// An eighth of them: the amortised cost for each new connection is small, and few closed ones stay referenced.
	l.room.oldest = slices.Clone(idle[:min(len(idle), max(64, len(idle)/8))])
}

// displace closes the connection if it has been idle since that moment.
func (c *Conn) displace(since int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil || c.idleSince.Load() != since {
		return false
	}
	return errors.Is(c.closeBy(ErrDisplaced), ErrDisplaced)
}
