package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// copySize is the buffer size of [Conn.ReadFrom]. Without it, a buffered writer would copy with its own buffer, by
// default 4 KiB per system call.
const copySize = 64 << 10

// phase is the state of a connection, as inferred from reads and writes: a read after a write waits for the next
// request, the first byte starts the request, the first write starts the response.
type phase uint8

const (
	idle phase = iota
	requesting
	responding
)

// Conn is a connection with limits. One goroutine may read while another writes, and any may close it or set
// deadlines, which apply in addition to the limits.
type Conn struct {
	under    net.Conn
	listener *Listener

	mu      sync.Mutex // held for bookkeeping only, never while waiting for the peer
	phase   phase
	writing bool  // whether a write is in progress
	ended   error // why it is closed: a limit, or net.ErrClosed; nil: it is open
	readBy  deadline
	writeBy deadline

	idled   time.Duration // spent waiting for the next request
	drained bool          // whether the last response is known to have arrived
	in      pace          // of the request
	out     pace          // of the response
	waited  time.Duration // for the response, and not yet added to out

	sent  int64        // bytes that the kernel has accepted
	acked int64        // bytes of them that the peer had acknowledged at the last measurement
	queue func() int64 // bytes accepted and not acknowledged; set by the first measurement

	idleSince atomic.Int64 // the moment since which it waits for a request; 0: it does not

	raw  syscall.RawConn // nil unless it is TCP
	more bool            // whether more of the same response immediately follows the next write
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

// beforeRead sets the socket's deadline to the time of the next check.
func (c *Conn) beforeRead(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	if c.phase == responding && !c.writing {
		c.phase, c.idled, c.drained = idle, 0, false
		c.idleSince.Store(c.listener.room.moment(now))
		c.listener.room.notify()
	}
	if c.phase == idle && !c.drained && c.waited >= c.listener.interval {
		c.drained, c.idled = c.measure() == 0, 0 // until now the response was still being sent
	}
	wait, cause := c.readLeft()
	if wait <= 0 {
		return c.closeBy(cause)
	}
	return c.readBy.arm(now.Add(wait), now, c.under.SetReadDeadline)
}

// readLeft returns how long a read may wait, and the error after that.
func (c *Conn) readLeft() (time.Duration, error) {
	switch {
	case c.phase == requesting:
		return c.in.left(c.listener.read)
	case c.phase == responding: // a write is in progress too, and limits apply to that
		return c.listener.interval, nil
	case !c.drained:
		if left, cause := c.out.left(c.listener.write); left <= 0 {
			return left, cause
		}
		return c.listener.interval - c.waited, nil
	case c.listener.config.Idle == 0:
		return never, nil
	}
	return c.listener.config.Idle - c.idled, ErrIdle
}

// afterRead records the result of a read that started at start, and reports whether to read again.
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
	return c.checkError(&c.readBy, now, n == 0, err)
}

// Write implements [net.Conn]. It may send a large p in many steps. If one of them fails, the connection is closed,
// unless the failure is a deadline of the caller.
func (c *Conn) Write(p []byte) (int, error) {
	for written := 0; ; {
		now := time.Now()
		if err := c.beforeWrite(now); err != nil {
			return written, err
		}
		n, err := c.send(p[written:])
		written += n
		again, err := c.afterWrite(now, n, err)
		if !again {
			return written, err
		}
	}
}

// send passes bytes to the kernel.
func (c *Conn) send(p []byte) (int, error) {
	if c.more && c.raw != nil {
		c.more = false
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
		// Earlier bytes must not count for this response. Reading the queue here would be exact, and cost a system call
		// for each response. Without, the value is wrong only until the first measurement, and only while an earlier
		// pipelined response is still being sent.
		c.acked = c.sent
	}
	if c.waited >= c.listener.interval {
		c.measure()
	}
	if left, cause := c.out.left(c.listener.write); left <= 0 {
		return c.closeBy(cause)
	}
	c.writing = true
	return c.writeBy.arm(now.Add(c.listener.interval-c.waited), now, c.under.SetWriteDeadline)
}

func (c *Conn) afterWrite(start time.Time, n int, err error) (again bool, _ error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	c.sent += int64(n)
	c.waited += now.Sub(start)
	return c.checkError(&c.writeBy, now, true, err)
}

// checkError handles the error of a read or write. If a deadline has passed, it is either the caller's, and an error,
// or that of the next check, and the call is repeated.
func (c *Conn) checkError(by *deadline, now time.Time, retry bool, err error) (again bool, _ error) {
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

// measure updates out with the bytes that the peer has acknowledged. It returns the number of bytes in flight.
func (c *Conn) measure() int64 {
	if c.queue == nil {
		c.queue = sendQueue(c.under)
	}
	queued := c.queue()
	acked := c.sent - queued
	c.out.add(c.waited, acked-c.acked)
	c.acked, c.waited = acked, 0
	return queued
}

// ReadFrom implements [io.ReaderFrom], so that a stream is sent in large steps regardless of buffers in the server. A
// [HeldReader] in an [io.LimitedReader] is sent without copying.
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

// closeBy closes the connection because of a limit or an abort, and returns cause. The caller holds mu.
func (c *Conn) closeBy(cause error) error {
	if tcp, ok := c.under.(*net.TCPConn); ok && !errors.Is(cause, ErrIdle) && !errors.Is(cause, ErrDisplaced) {
		// The kernel would keep unsent bytes in memory for minutes. A reset frees them.
		_ = tcp.SetLinger(0)
	}
	_ = c.close(cause)
	return cause
}

// Abort ends a connection in the middle of a response: with a reset, because some clients, such as Java's
// HttpURLConnection and clients of HTTP/1.0, take an orderly end for the end of the response. conn is what a
// [Listener] accepted, or TLS on top of that; any other is closed.
func Abort(conn net.Conn) {
	under := conn
	if secure, ok := conn.(*tls.Conn); ok {
		under = secure.NetConn() // tls.Conn would first send that it ends in good order
	}
	c, ok := under.(*Conn)
	if !ok {
		_ = under.Close()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.closeBy(ErrAborted)
}

func (c *Conn) close(cause error) error {
	if c.ended != nil {
		return net.ErrClosed
	}
	c.ended = cause
	c.listener.untrack(c, cause)
	return c.under.Close()
}

// Close implements [net.Conn]. Bytes written before are still delivered.
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
	return c.readBy.set(t, c.under.SetReadDeadline)
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeBy.set(t, c.under.SetWriteDeadline)
}

// deadline is the deadline of one direction. The socket has only one, for the caller's deadline and for the next check.
// It may pass too early, which costs one reading of the clock, but never too late; so it need not be set for each call.
type deadline struct {
	asked time.Time // by the caller; zero: none
	armed time.Time // on the socket
}

// arm ensures that the socket's deadline passes no later than t and the caller's deadline.
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

// set sets the caller's deadline. The socket needs it immediately only if a blocked call has to return earlier by it.
func (d *deadline) set(t time.Time, setSocket func(time.Time) error) error {
	d.asked = t
	if t.IsZero() || !d.armed.IsZero() && !t.Before(d.armed) {
		return nil
	}
	d.armed = t
	return setSocket(t)
}

func (d *deadline) passed(now time.Time) bool { return !d.asked.IsZero() && !now.Before(d.asked) }
