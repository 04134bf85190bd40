package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// copySize is how much [Conn.ReadFrom] moves at a time. A buffered writer above would move its own buffer's worth, by
// default 4 KiB and one system call each.
const copySize = 64 << 10

// phase is what a connection does, as far as reads and writes tell: a read after a write waits for the next request,
// the first byte begins the request, the first write begins the response.
type phase uint8

const (
	idle phase = iota
	requesting
	responding
)

// Conn is a connection with limits. One goroutine may read while another writes, and any may close it or set
// deadlines, which hold beside the limits.
type Conn struct {
	under    net.Conn
	listener *Listener

	mu      sync.Mutex // held for bookkeeping only, never while waiting for the peer
	phase   phase
	writing bool  // whether a write is under way
	ended   error // why it is closed: a limit, or net.ErrClosed
	readBy  deadline
	writeBy deadline

	idled   time.Duration // for how long the next request has been waited for
	drained bool          // whether the last response is known to have arrived
	in      pace          // of the request
	out     pace          // of the response
	waited  time.Duration // for the response, and not yet in out

	sent  int64        // bytes the kernel has taken
	acked int64        // of them, bytes the peer has acknowledged as of the last look
	queue func() int64 // bytes taken and not acknowledged; made by the first look

	idleSince atomic.Int64 // the moment since which it waits for a request; 0: it does not

	raw     syscall.RawConn // nil unless it is TCP
	follows bool            // whether more of the same response follows the next write at once
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	for {
		now := time.Now()
		if err := c.beforeRead(now); err != nil {
			return 0, err
		}
		n, err := c.under.Read(p)
		again, err := c.afterRead(now, n, err)
		if !again {
			return n, err
		}
	}
}

// beforeRead sets the socket's deadline to when the next thing has to be decided.
func (c *Conn) beforeRead(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	if c.phase == responding && !c.writing {
		c.phase, c.idled, c.drained = idle, 0, false
		c.idleSince.Store(c.listener.room.moment(now))
		c.listener.room.free()
	}
	if c.phase == idle && !c.drained && c.waited >= c.listener.look {
		c.drained, c.idled = c.takeLook() == 0, 0 // until now the response was on its way
	}
	wait, cause := c.readLeft()
	if wait <= 0 {
		return c.end(cause)
	}
	return c.readBy.arm(now.Add(wait), now, c.under.SetReadDeadline)
}

// readLeft returns how long a read may wait, and what it is when that is over.
func (c *Conn) readLeft() (time.Duration, error) {
	switch {
	case c.phase == requesting:
		return c.in.left(c.listener.read)
	case c.phase == responding: // both directions at once: the write is what is judged
		return c.listener.look, nil
	case !c.drained:
		if left, cause := c.out.left(c.listener.write); left <= 0 {
			return left, cause
		}
		return c.listener.look - c.waited, nil
	case c.listener.config.Idle == 0:
		return never, nil
	}
	return c.listener.config.Idle - c.idled, ErrIdle
}

// afterRead takes note of what a read that began at start has brought, and says whether to read again.
func (c *Conn) afterRead(start time.Time, n int, err error) (again bool, _ error) {
	now := time.Now()
	d := now.Sub(start)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase == requesting:
		c.in.add(d, int64(n))
	case c.phase == idle && n > 0:
		c.phase, c.in = requesting, pace{moved: int64(n)}
		c.idleSince.Store(0)
	case c.phase == idle:
		c.idled += d
		if !c.drained {
			c.waited += d
		}
	}
	return c.after(&c.readBy, now, n == 0, err)
}

// Write implements [net.Conn]. A large p may go out in many steps; all of them succeed or the connection is closed,
// unless a deadline of the caller's passes between.
func (c *Conn) Write(p []byte) (int, error) {
	for written := 0; ; {
		now := time.Now()
		if err := c.beforeWrite(now); err != nil {
			return written, err
		}
		n, err := c.put(p[written:])
		written += n
		again, err := c.afterWrite(now, n, err)
		if !again {
			return written, err
		}
	}
}

// put hands bytes to the kernel.
func (c *Conn) put(p []byte) (int, error) {
	if c.follows && c.raw != nil {
		c.follows = false
		return sendMore(c.raw, p)
	}
	return c.under.Write(p)
}

func (c *Conn) beforeWrite(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	if c.phase != responding {
		c.phase, c.out, c.waited = responding, pace{}, 0
		c.idleSince.Store(0)
		// What was sent before is not to this response's credit. Looking at the queue here would be exact and cost a
		// system call for each response; this is wrong only while a pipelined response is still on its way, until
		// the first look.
		c.acked = c.sent
	}
	if c.waited >= c.listener.look {
		c.takeLook()
	}
	if left, cause := c.out.left(c.listener.write); left <= 0 {
		return c.end(cause)
	}
	c.writing = true
	return c.writeBy.arm(now.Add(c.listener.look-c.waited), now, c.under.SetWriteDeadline)
}

func (c *Conn) afterWrite(start time.Time, n int, err error) (again bool, _ error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	c.sent += int64(n)
	c.waited += now.Sub(start)
	return c.after(&c.writeBy, now, true, err)
}

// after sorts out the error of a read or write. A deadline that passed is the caller's, which the caller is told, or
// one of ours, which only means that it is time to look.
func (c *Conn) after(by *deadline, now time.Time, retry bool, err error) (again bool, _ error) {
	switch {
	case err == nil:
		return false, nil
	case c.ended != nil:
		return false, c.ended
	case errors.Is(err, os.ErrDeadlineExceeded) && !by.passed(now):
		return retry, nil
	}
	return false, err
}

// takeLook brings out up to date with what the peer has acknowledged. It returns the bytes on their way.
func (c *Conn) takeLook() int64 {
	if c.queue == nil {
		c.queue = sendQueue(c.under)
	}
	queued := c.queue()
	acked := c.sent - queued
	c.out.add(c.waited, acked-c.acked)
	c.acked, c.waited = acked, 0
	return queued
}

// ReadFrom implements [io.ReaderFrom], so that a stream goes out in large steps whatever buffer is above.
// A [HeldReader] with a bound on it is not even copied.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if bounded, ok := r.(*io.LimitedReader); ok && c.raw != nil {
		if held, ok := bounded.R.(interface{ reader() *HeldReader }); ok && held.reader().conn == c {
			n, err := c.sendHeld(held.reader(), bounded.N)
			bounded.N -= n
			return n, err
		}
	}
	buf := c.listener.buffers.Get().(*[]byte)
	defer c.listener.buffers.Put(buf)
	for total := int64(0); ; {
		n, err := r.Read(*buf)
		if n > 0 {
			n, werr := c.Write((*buf)[:n])
			total += int64(n)
			if werr != nil {
				return total, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// end closes the connection because a limit is passed, and returns why. The caller holds mu.
func (c *Conn) end(cause error) error {
	if tcp, ok := c.under.(*net.TCPConn); ok && !errors.Is(cause, ErrIdle) && !errors.Is(cause, ErrDisplaced) {
		// What the kernel still holds for a peer that does not take it would stay for minutes. Reset, and free it.
		_ = tcp.SetLinger(0)
	}
	_ = c.close(cause)
	return cause
}

func (c *Conn) close(cause error) error {
	if c.ended != nil {
		return net.ErrClosed
	}
	c.ended = cause
	c.listener.untrack(c, cause)
	return c.under.Close()
}

// Close implements [net.Conn]. What was written before is still delivered.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.close(net.ErrClosed)
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readBy.ask(t, c.under.SetReadDeadline)
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeBy.ask(t, c.under.SetWriteDeadline)
}

// deadline is that of one direction. The socket has a single one, for the caller's and for ours. It may pass too early,
// which costs one look at the clock, but never too late; so it is set again only when it must be, not for each call.
type deadline struct {
	asked time.Time // by the caller; zero is none
	armed time.Time // what the socket has
}

// arm makes sure that the socket's deadline passes at t or when the caller's does, or earlier.
func (d *deadline) arm(t, now time.Time, set func(time.Time) error) error {
	if !d.asked.IsZero() && d.asked.Before(t) {
		t = d.asked
	}
	if d.armed.After(now) && !d.armed.After(t) {
		return nil
	}
	d.armed = t
	return set(t)
}

// ask takes the caller's wish. The socket must know at once only if it makes a call that waits return earlier.
func (d *deadline) ask(t time.Time, set func(time.Time) error) error {
	d.asked = t
	if t.IsZero() || !d.armed.IsZero() && !t.Before(d.armed) {
		return nil
	}
	d.armed = t
	return set(t)
}

func (d *deadline) passed(now time.Time) bool { return !d.asked.IsZero() && !now.Before(d.asked) }
