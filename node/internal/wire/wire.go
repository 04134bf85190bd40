// Package wire stands between the sockets and the HTTP server. It ends connections that only cost, and leaves alone
// those that are slow but move.
//
// The life of one connection: a [Listener] accepts it, counts it and hands it out as a [Conn]. While it waits for a
// request it may be idle for a bounded time; while a request is read or a response is written, time counts only as long
// as the peer is waited for, so that a slow disk or a slow origin is never held against a client. A limit that is
// passed closes the connection and makes the call that waited return [ErrIdle], [ErrStalled] or [ErrSlow]. When as many
// connections are open as may be, a new one displaces the one that has been idle for longest. When a drain has waited
// long enough, [Listener.CloseConns] closes what remains. An HTTP server above needs no timeouts of its own.
//
// Progress of a response is what the peer has acknowledged, not what the kernel has taken: the send buffer of one
// socket may hold megabytes, which take a slow link minutes in which no write returns, and it may hold them after the
// last write of a response, when the connection seems to be idle.
//
// The invariant: a Conn that was handed out is open, counted and reachable by CloseConns until it is closed, and no
// peer can keep one open without moving bytes at the rate that is asked for, give or take a quarter of a limit.
package wire

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Defaults of [Config].
const (
	// DefaultIdle is longer than the 60 seconds after which load balancers in front commonly give up a connection, so
	// that they close first and never send a request into a connection that is being closed.
	DefaultIdle = 75 * time.Second
	// DefaultStall outlives the retransmission pauses of a device that changes cells or drives through a tunnel.
	DefaultStall = 30 * time.Second
	// DefaultGrace is as long as a stall: within it a connection is judged by stalls alone.
	DefaultGrace = 30 * time.Second
	// DefaultReadRate is what Apache's mod_reqtimeout asks for, in bytes per second.
	DefaultReadRate = 500
	// DefaultWriteRate is well below what a GPRS link gives, about 4 KiB a second.
	DefaultWriteRate = 1 << 10
)

// Config holds the limits of a [Listener]. For each, zero means the default and a negative value means no limit.
type Config struct {
	// Connections is how many may be open at the same time; see [DefaultConnections]. When as many are open, a new
	// one takes the place of the one that has been idle for longest; if none is idle, it waits.
	Connections int
	// Reserved is how many descriptors others in the process keep open, such as a store. It bounds the default of
	// Connections.
	Reserved int
	// OnFull is called when a new connection finds no room, at most once a minute. It must not block.
	OnFull func()
	// Idle is how long a connection may wait for the first byte of a request.
	Idle time.Duration
	// Stall is how long a peer that is being waited for may move nothing at all.
	Stall time.Duration
	// Grace is how long one request or response may take however little moves. After it, the time that was spent
	// waiting for the peer must not exceed Grace plus what the bytes moved so far take at ReadRate or WriteRate.
	Grace time.Duration
	// ReadRate and WriteRate are minimum average rates for one request and one response, in bytes per second.
	ReadRate, WriteRate int64
	// SendBuffer is the size of the kernel's send buffer of each connection in bytes (SO_SNDBUF). Zero leaves it to
	// the kernel, which sizes it by what the link can carry; a fixed size caps a long link at size / round trip time.
	SendBuffer int
	// Unsent is how many bytes of a response the kernel takes before they can be sent (TCP_NOTSENT_LOWAT, Linux only).
	// It bounds what a slow peer costs in kernel memory without capping what is in flight. Zero leaves it to the
	// kernel, which bounds it by the send buffer alone.
	Unsent int
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.SendBuffer < 0 || c.Unsent < 0 {
		return fmt.Errorf("send buffer of %d bytes and %d bytes unsent: neither may be negative", c.SendBuffer, c.Unsent)
	}
	if c.Grace < 0 && (c.ReadRate > 0 || c.WriteRate > 0) {
		return errors.New("a minimum rate is set, but no grace to measure it over")
	}
	return nil
}

// withDefaults replaces zero by the default, and any negative value by zero, which from here on means no limit.
func (c Config) withDefaults() Config {
	c.Idle = orDefault(c.Idle, DefaultIdle)
	c.Stall = orDefault(c.Stall, DefaultStall)
	c.Grace = orDefault(c.Grace, DefaultGrace)
	c.ReadRate = orDefault(c.ReadRate, DefaultReadRate)
	c.WriteRate = orDefault(c.WriteRate, DefaultWriteRate)
	if c.Grace == 0 {
		c.ReadRate, c.WriteRate = 0, 0
	}
	return c
}

func orDefault[T time.Duration | int64](v, byDefault T) T {
	if v == 0 {
		return byDefault
	}
	return max(v, 0)
}

// What ended a connection. All are timeouts ([os.ErrDeadlineExceeded], and Timeout reports true).
var (
	ErrIdle    error = &limitError{"no request came"}
	ErrStalled error = &limitError{"the peer stopped moving"}
	ErrSlow    error = &limitError{"the peer is below the minimum rate"}
	// ErrDisplaced means that an idle connection was closed for a new one.
	ErrDisplaced error = &limitError{"no request came, and another connection needed the room"}
)

// limitError is a [net.Error]. Its text holds "i/o timeout", by which servers tell what is not worth logging.
type limitError struct{ what string }

func (e *limitError) Error() string { return "i/o timeout: " + e.what }
func (e *limitError) Timeout() bool { return true }

// Temporary is false so that nobody tries again on a connection that is closed.
func (e *limitError) Temporary() bool { return false }
func (e *limitError) Unwrap() error   { return os.ErrDeadlineExceeded }

// Stats are counts since the Listener was made, except Open.
type Stats struct {
	Open      int   // connections open now
	Accepted  int64 // connections handed out
	Idle      int64 // closed with ErrIdle
	Stalled   int64 // closed with ErrStalled
	Slow      int64 // closed with ErrSlow
	Displaced int64 // closed with ErrDisplaced
}
