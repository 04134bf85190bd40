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

// DefaultConnections returns how many connections a process may have open at the same time when it may have that many
// descriptors; 0 means no limit, in both places. Reserved of the descriptors are left for others, as are 64 for the
// operators' listener, gossip and outgoing connections, and those of [Held] files, see [MaxHeld]. The rest is halved,
// because a connection needs a second descriptor while its response is read from disk. A quarter of all descriptors
// goes to connections even where that is not enough for everything at the same time.
func DefaultConnections(descriptors uint64, reserved int) int {
	if descriptors == 0 {
		return 0
	}
	all := int(min(descriptors, 1<<30))
	return max(1, all/4, (all-64-reserved-MaxHeld(descriptors))/2)
}

// MaxHeld returns how many [Held] a process should have at most when it may have that many descriptors.
func MaxHeld(descriptors uint64) int {
	const most = 1024
	if descriptors == 0 {
		return most
	}
	return int(min(most, descriptors/8))
}

// noticeEvery is how far apart two calls of Config.OnFull are at least: a full node is full for each new connection.
const noticeEvery = time.Minute

// room bounds how many connections are open.
type room struct {
	most    int // 0: no limit
	onFull  func()
	start   time.Time
	waiting atomic.Bool   // whether somebody waits for freed
	freed   chan struct{} // has room for one

	mu       sync.Mutex // one connection is made room for at a time
	noticed  time.Time
	oldest   []candidate // of the connections that were idle at the last look, those idle for longest, in order
	made     atomic.Int64
	notified bool
}

// candidate is a connection that was idle since a moment. It still is when its moment is the same.
type candidate struct {
	conn  *Conn
	since int64
}

func (r *room) init(config Config) {
	r.most, r.onFull = max(config.Connections, 0), config.OnFull
	if config.Connections == 0 {
		r.most = DefaultConnections(Descriptors(), config.Reserved)
	}
	r.start, r.freed = time.Now(), make(chan struct{}, 1)
}

// moment is now as a positive number, for [Conn.idleSince].
func (r *room) moment(now time.Time) int64 { return max(1, int64(now.Sub(r.start))) }

// free wakes whoever waits for a connection to end or to become idle.
func (r *room) free() {
	if r.waiting.Load() {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// makeRoom returns when one more connection may be opened. If as many are open as may be, it closes the one that has
// been idle for longest; if none is idle, it waits.
func (l *Listener) makeRoom() error {
	if l.room.most == 0 {
		return nil
	}
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	defer l.room.waiting.Store(false)
	for l.isFull() {
		l.notice()
		if l.closeIdlest() {
			continue
		}
		if !l.room.waiting.Swap(true) {
			continue // what became idle before this was not told of
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
	return len(l.open) >= l.room.most
}

func (l *Listener) notice() {
	now := time.Now()
	if l.room.onFull == nil || l.room.notified && now.Sub(l.room.noticed) < noticeEvery {
		return
	}
	l.room.noticed, l.room.notified = now, true
	l.room.onFull()
}

// closeIdlest closes the connection that has been idle for longest, and reports whether there was one. It looks at all
// connections only when it has been through those found by the look before: all others became idle later.
func (l *Listener) closeIdlest() bool {
	for range 2 {
		for len(l.room.oldest) > 0 {
			next := l.room.oldest[0]
			l.room.oldest = l.room.oldest[1:]
			if next.conn.displace(next.since) {
				l.room.made.Add(1)
				return true
			}
		}
		l.lookForIdle()
	}
	return false
}

func (l *Listener) lookForIdle() {
	var idle []candidate
	l.mu.Lock()
	for c := range l.open {
		if since := c.idleSince.Load(); since != 0 {
			idle = append(idle, candidate{c, since})
		}
	}
	l.mu.Unlock()
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(a.since, b.since) })
	// An eighth of them, so that the look costs each new connection little, and that few are held on to.
	l.room.oldest = slices.Clone(idle[:min(len(idle), max(64, len(idle)/8))])
}

// displace closes the connection if it has been idle since that moment.
func (c *Conn) displace(since int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil || c.idleSince.Load() != since {
		return false
	}
	return errors.Is(c.end(ErrDisplaced), ErrDisplaced)
}
