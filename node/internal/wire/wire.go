// Package wire limits the connections of the HTTP server. It closes those that are idle, stalled or too slow, and
// leaves those open that are slow but make progress.
//
// The life of one connection: a [Listener] accepts it, counts it and returns it as a [Conn]. It may wait for a request
// for a bounded time. While a request is read or a response is written, only time counts during which the peer is
// waited for, so that a client is never cut for a slow disk or a slow origin. When a limit is exceeded, the connection
// is closed, and the blocked call returns [ErrIdle], [ErrStalled] or [ErrSlow]. When the maximum number of connections
// is open, a new one displaces the one that has been idle for longest. At the end of a drain, [Listener.CloseConns]
// closes the remaining ones. The HTTP server needs no timeouts of its own.
//
// Progress of a response is counted in bytes that the peer has acknowledged, not in bytes that the kernel has accepted:
// the send buffer of a socket may hold megabytes, for which a slow link needs minutes. During these no write returns,
// or the last write has returned and the connection seems to be idle.
//
// The invariant: a Conn is open, counted and reachable by CloseConns until it is closed, and no peer can keep one open
// without moving bytes at the minimum rate, give or take a quarter of a limit.
package wire

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Defaults of [Config].
const (
	// DefaultIdle is longer than the 60 seconds after which load balancers commonly close an idle connection, so that
	// they close first and never send a request on a connection that is being closed.
	DefaultIdle = 75 * time.Second
	// DefaultStall outlives the retransmission pauses of a device that changes cells or drives through a tunnel.
	DefaultStall = 30 * time.Second
	// DefaultGrace is as long as a stall, so that until then a connection can only stall.
	DefaultGrace = 30 * time.Second
	// DefaultReadRate is that of Apache's mod_reqtimeout, in bytes per second.
	DefaultReadRate = 500
	// DefaultWriteRate is well below the rate of a GPRS link, about 4 KiB a second.
	DefaultWriteRate = 1 << 10
)

// Config holds the limits of a [Listener]. For each, zero means the default and a negative value means no limit.
type Config struct {
	// Connections is how many may be open at the same time; see [DefaultConnections]. When that many are open, a new
	// one displaces the one that has been idle for longest; if none is idle, it waits.
	Connections int
	// Reserved is how many descriptors other parts of the process need, such as the store. It lowers the default of
	// Connections.
	Reserved int
	// OnFull is called when a new connection finds the maximum open, at most once a minute. It must not block.
	OnFull func()
	// Idle is how long a connection may wait for the first byte of a request.
	Idle time.Duration
	// Stall is how long a peer that is being waited for may move no bytes at all.
	Stall time.Duration
	// Grace is how long one request or response may take at any rate. After that, the time spent waiting for the peer
	// must not exceed Grace plus the time that the bytes moved so far take at ReadRate or WriteRate.
	Grace time.Duration
	// ReadRate and WriteRate are minimum average rates for one request and one response, in bytes per second.
	ReadRate, WriteRate int64
	// SendBuffer is the size of the kernel's send buffer of each connection in bytes (SO_SNDBUF). With zero the kernel
	// adapts it to the link; a fixed size limits the rate to size / round trip time.
	SendBuffer int
	// Unsent is how many bytes of a response the kernel accepts before they can be sent (TCP_NOTSENT_LOWAT, Linux only).
	// It bounds the kernel memory of a slow peer without limiting the bytes in flight. With zero, only the send buffer
	// bounds it.
	Unsent int
}

// Validate reports invalid values.
func (c Config) Validate() error {
	if c.SendBuffer < 0 || c.Unsent < 0 {
		return fmt.Errorf("send buffer of %d bytes and %d bytes unsent: neither may be negative", c.SendBuffer, c.Unsent)
	}
	if c.Grace < 0 && (c.ReadRate > 0 || c.WriteRate > 0) {
		return errors.New("a minimum rate needs a grace period")
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

// Errors of connections that were closed. All are timeouts ([os.ErrDeadlineExceeded], and Timeout reports true).
var (
	ErrIdle    error = &limitError{"no request arrived"}
	ErrStalled error = &limitError{"the peer stalled"}
	ErrSlow    error = &limitError{"the peer is below the minimum rate"}
	ErrAborted error = &limitError{"the response could not be completed"} // see Abort
	// ErrDisplaced means that an idle connection was closed for a new one.
	ErrDisplaced error = &limitError{"no request arrived, and the connection was closed for a new one"}
)

// limitError is a [net.Error]. Its text contains "i/o timeout", by which servers recognise errors not worth logging.
type limitError struct{ what string }

func (e *limitError) Error() string { return "i/o timeout: " + e.what }
func (e *limitError) Timeout() bool { return true }

// Temporary is false, so that nobody retries on a closed connection.
func (e *limitError) Temporary() bool { return false }
func (e *limitError) Unwrap() error   { return os.ErrDeadlineExceeded }

// Stats are counts since the Listener was created, except Open.
type Stats struct {
	Open      int   // connections open now
	Accepted  int64 // connections returned by Accept
	Idle      int64 // closed with ErrIdle
	Stalled   int64 // closed with ErrStalled
	Slow      int64 // closed with ErrSlow
	Displaced int64 // closed with ErrDisplaced
}
