package wire

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener is a [net.Listener] whose connections are limited and tracked. It starts no goroutine. Use [New].
type Listener struct {
	under    net.Listener
	config   Config
	read     limits
	write    limits
	interval time.Duration // between measurements of the progress of a response
	done     chan struct{} // closed by Close
	room     room

	accepted, idle, stalled, slow atomic.Int64
	buffers                       sync.Pool // of *[]byte, for Conn.ReadFrom

	mu     sync.Mutex
	closed bool
	open   map[*Conn]struct{}
}

// New returns a Listener that accepts from under, and takes ownership of it.
func New(under net.Listener, config Config) (*Listener, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	config = config.withDefaults()
	l := &Listener{
		under:    under,
		config:   config,
		read:     limits{config.Stall, config.Grace, config.ReadRate},
		write:    limits{config.Stall, config.Grace, config.WriteRate},
		interval: never,
		done:     make(chan struct{}),
		open:     make(map[*Conn]struct{}),
	}
	for _, limit := range []time.Duration{config.Idle, config.Stall, config.Grace} {
		if limit > 0 {
			l.interval = min(l.interval, limit/4)
		}
	}
	l.interval = max(l.interval, time.Millisecond)
	l.room.init(config)
	l.buffers.New = func() any { b := make([]byte, copySize); return &b }
	return l, nil
}

// Accept returns the next connection, always a [*Conn]. It blocks; Close makes it return [net.ErrClosed].
//
// When the process or the machine has no descriptor or memory left for one more connection, Accept waits and tries
// again: an HTTP server stops at any error, and the shortage ends as connections are closed.
func (l *Listener) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		raw, err := l.under.Accept()
		if err == nil {
			if err := l.makeRoom(); err != nil {
				_ = raw.Close()
				return nil, err
			}
			return l.track(raw)
		}
		if !isShortage(err) {
			return nil, err
		}
		// A timer, because anything in the process or on the machine may free a descriptor.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.done:
			timer.Stop()
			return nil, net.ErrClosed
		}
	}
}

func isShortage(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (l *Listener) track(raw net.Conn) (net.Conn, error) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		// Either fails only if the peer has closed the connection, which the first read reports.
		if l.config.SendBuffer > 0 {
			_ = tcp.SetWriteBuffer(l.config.SendBuffer)
		}
		if l.config.Unsent > 0 {
			_ = limitUnsent(tcp, l.config.Unsent)
		}
	}
	c := &Conn{under: raw, listener: l, phase: idle, drained: true}
	if tcp, ok := raw.(*net.TCPConn); ok {
		if direct, err := tcp.SyscallConn(); err == nil {
			c.raw = direct
		}
	}
	c.idleSince.Store(l.room.moment(time.Now()))
	l.mu.Lock()
	if l.closed { // accepted while Close ran: nobody would close it at the end of a drain
		l.mu.Unlock()
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	l.open[c] = struct{}{}
	l.mu.Unlock()
	l.accepted.Add(1)
	return c, nil
}

func (l *Listener) untrack(c *Conn, cause error) {
	switch {
	case errors.Is(cause, ErrIdle):
		l.idle.Add(1)
	case errors.Is(cause, ErrStalled):
		l.stalled.Add(1)
	case errors.Is(cause, ErrSlow):
		l.slow.Add(1)
	}
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	l.room.notify()
}

// Addr returns the address that the listener listens on.
func (l *Listener) Addr() net.Addr { return l.under.Addr() }

// Close stops accepting. Connections stay open. A second Close returns [net.ErrClosed].
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	return l.under.Close()
}

// CloseConns closes all open connections, also in the middle of a request; blocked reads and writes return immediately.
// If it is called after Close, no connection is open when it returns. It may be called at any time, and repeatedly.
func (l *Listener) CloseConns() {
	l.mu.Lock()
	conns := make([]*Conn, 0, len(l.open))
	for c := range l.open {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // an error: it has been closed since
	}
}

// Limit returns how many connections may be open at the same time; 0 means no limit.
func (l *Listener) Limit() int { return l.room.limit }

// Stats returns the counts.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	open := len(l.open)
	l.mu.Unlock()
	return Stats{
		Open:      open,
		Accepted:  l.accepted.Load(),
		Idle:      l.idle.Load(),
		Stalled:   l.stalled.Load(),
		Slow:      l.slow.Load(),
		Displaced: l.room.displaced.Load(),
	}
}
