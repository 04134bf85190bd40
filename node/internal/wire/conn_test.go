package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestConn_IdleEndsIt(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		_, err := c.Read(make([]byte, 1))
		wantEnd(t, l, err, ErrIdle, Stats{Idle: 1}, peer)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrIdle) {
			t.Errorf("a second read returned %v", err)
		}
		if _, err := c.Write(make([]byte, 1)); !errors.Is(err, ErrIdle) {
			t.Errorf("a write returned %v", err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close returned %v", err)
		}
	})
}

func TestConn_IdleRestartsWithEachRequest(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go func() {
			for range 5 {
				pass(testLimits.Idle - time.Second)
				send(t, peer, 100)
				receive(t, peer, 100)
			}
		}()
		for range 5 {
			receive(t, c, 100)
			send(t, c, 100)
		}
		_, err := c.Read(make([]byte, 1))
		wantEnd(t, l, err, ErrIdle, Stats{Idle: 1}, peer)
	})
}

func TestConn_RequestThatStallsEndsIt(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go send(t, peer, 5000)
		receive(t, c, 5000)
		began := time.Now()
		_, err := c.Read(make([]byte, 1))
		wantEnd(t, l, err, ErrStalled, Stats{Stalled: 1}, peer)
		if waited := time.Since(began); waited != testLimits.Stall { // on the clock of the bubble, thus exact
			t.Errorf("it was waited for %v, as if between requests", waited)
		}
	})
}

func TestConn_RequestBelowTheRateEndsIt(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go drip(peer, 1, time.Second)
		_, err := io.ReadFull(c, make([]byte, 5000))
		wantEnd(t, l, err, ErrSlow, Stats{Slow: 1}, peer)
	})
}

func TestConn_SlowRequestThatMovesLives(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, _ *Listener, c *Conn, peer net.Conn) {
		go drip(peer, 500, 5*time.Second)
		receive(t, c, 100_000) // takes 1000 seconds
	})
}

func TestConn_TimeOfTheServerDoesNotCount(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, _ *Listener, c *Conn, peer net.Conn) {
		go send(t, peer, 1000)
		for range 1000 {
			receive(t, c, 1)
			pass(time.Minute)
		}
		go receive(t, peer, 1000)
		for range 1000 {
			send(t, c, 1)
			pass(time.Minute)
		}
	})
}

func TestConn_ResponseThatStallsEndsIt(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go receive(t, peer, 100_000)
		n, err := c.Write(make([]byte, 1<<20))
		wantEnd(t, l, err, ErrStalled, Stats{Stalled: 1}, peer)
		if n != 100_000 {
			t.Errorf("write returned %d, want what was taken", n)
		}
	})
}

func TestConn_ResponseBelowTheRateEndsIt(t *testing.T) {
	for name, write := range map[string]func(w io.Writer) error{
		"at once": func(w io.Writer) error {
			_, err := w.Write(make([]byte, 1<<20))
			return err
		},
		"in many writes": func(w io.Writer) error {
			for range 1 << 20 {
				if _, err := w.Write([]byte{0}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
				go sip(peer, 100, time.Second)
				wantEnd(t, l, write(c), ErrSlow, Stats{Slow: 1}, peer)
			})
		})
	}
}

func TestConn_SlowResponseThatMovesLives(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, _ *Listener, c *Conn, peer net.Conn) {
		go sip(peer, 6000, 5*time.Second)
		send(t, c, 1_000_000) // takes more than 800 seconds
	})
}

// A fast response must not give a later, slow one more time.
func TestConn_EachResponseIsMeasuredAlone(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go func() {
			send(t, peer, 1)
			for range 100 {
				receive(t, peer, 100_000)
				pass(time.Second)
			}
			send(t, peer, 1)
			sip(peer, 100, time.Second)
		}()
		receive(t, c, 1)
		send(t, c, 10_000_000)
		receive(t, c, 1)
		_, err := c.Write(make([]byte, 10_000))
		wantEnd(t, l, err, ErrSlow, Stats{Slow: 1}, peer)
	})
}

// A fast request must not give a later, slow one more time.
func TestConn_EachRequestIsMeasuredAlone(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		go func() {
			send(t, peer, 1<<20)
			receive(t, peer, 1)
			drip(peer, 1, time.Second)
		}()
		receive(t, c, 1)
		receive(t, c, 1<<20-1)
		send(t, c, 1)
		_, err := io.ReadFull(c, make([]byte, 100))
		wantEnd(t, l, err, ErrSlow, Stats{Slow: 1}, peer)
	})
}

// The kernel accepts no more bytes, but the peer acknowledges earlier ones: the link is slow, not dead.
func TestConn_AcknowledgedBytesAreProgress(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		var queue atomic.Int64
		queue.Store(1 << 20)
		c.queue = queue.Load
		done := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 2<<20))
			done <- err
		}()
		receive(t, peer, 1<<20) // the kernel's part
		for queue.Load() > 0 {
			pass(time.Second)
			queue.Add(-2048)
		}
		synctest.Wait()
		if open := l.Stats().Open; open != 1 {
			t.Fatal("a link that moves was closed")
		}
		wantEnd(t, l, <-done, ErrStalled, Stats{Stalled: 1}, peer)
	})
}

// The last write of a response returns when the kernel has accepted it, long before a slow peer has received it.
func TestConn_NotIdleWhileAResponseIsInFlight(t *testing.T) {
	respond := func(t *testing.T, c *Conn, peer net.Conn, queue func() int64) chan error {
		go func() {
			send(t, peer, 1)
			receive(t, peer, 1<<20)
		}()
		c.queue = queue
		receive(t, c, 1)
		send(t, c, 1<<20)
		done := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			done <- err
		}()
		return done
	}
	t.Run("moving", func(t *testing.T) {
		bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
			var queue atomic.Int64
			queue.Store(1 << 20)
			done := respond(t, c, peer, queue.Load)
			for queue.Load() > 0 {
				pass(time.Second)
				queue.Add(-2048)
			}
			pass(testLimits.Idle - time.Second)
			synctest.Wait()
			if open := l.Stats().Open; open != 1 {
				t.Fatal("it was closed as idle")
			}
			wantEnd(t, l, <-done, ErrIdle, Stats{Idle: 1}, peer)
		})
	})
	t.Run("stalled", func(t *testing.T) {
		bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
			done := respond(t, c, peer, func() int64 { return 1 << 19 })
			wantEnd(t, l, <-done, ErrStalled, Stats{Stalled: 1}, peer)
		})
	})
	t.Run("slow", func(t *testing.T) {
		bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
			queued := int64(1 << 20)
			done := respond(t, c, peer, func() int64 { queued -= 10; return queued })
			wantEnd(t, l, <-done, ErrSlow, Stats{Slow: 1}, peer)
		})
	})
}

func callersDeadline(err error) bool {
	ours := errors.Is(err, ErrIdle) || errors.Is(err, ErrStalled) || errors.Is(err, ErrSlow)
	return errors.Is(err, os.ErrDeadlineExceeded) && !ours
}

func TestConn_DeadlinesOfTheCaller(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !callersDeadline(err) {
			t.Errorf("read returned %v", err)
		}
		if _, err := c.Write(make([]byte, 1)); !callersDeadline(err) {
			t.Errorf("write returned %v", err)
		}
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go send(t, peer, 1)
		receive(t, c, 1)

		woken := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			woken <- err
		}()
		synctest.Wait()
		if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil { // long ago, as servers do to wake a read
			t.Fatal(err)
		}
		if err := <-woken; !callersDeadline(err) {
			t.Errorf("the read that was woken returned %v", err)
		}
		// The request has begun, and the socket is armed for the stall; the caller's deadline falls between.
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			pass(time.Second)
			send(t, peer, 1)
		}()
		receive(t, c, 1)
		pass(testLimits.Stall - 2*time.Second)
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.Read(make([]byte, 1)); !callersDeadline(err) {
			t.Errorf("a read beyond an earlier deadline of ours returned %v", err)
		}
		if waited := time.Since(began); waited != 5*time.Second { // on the clock of the bubble, thus exact
			t.Errorf("it returned after %v", waited)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		wantEnd(t, l, err, ErrStalled, Stats{Stalled: 1}, peer)
	})
}

func TestConn_NoLimits(t *testing.T) {
	bubble(t, Config{Idle: -1, Stall: -1, Grace: -1}, func(t *testing.T, _ *Listener, c *Conn, peer net.Conn) {
		go func() {
			pass(2 * never)
			send(t, peer, 1)
			pass(2 * never)
			send(t, peer, 1)
			pass(2 * never)
			receive(t, peer, 1)
			pass(2 * never)
			send(t, peer, 1)
		}()
		receive(t, c, 2)
		send(t, c, 1)
		receive(t, c, 1)
	})
}

func TestConn_BothDirectionsAtOnce(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, _ *Listener, c *Conn, peer net.Conn) {
		go sip(peer, 6000, 5*time.Second)
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		send(t, c, 200_000)
		select {
		case err := <-read:
			t.Errorf("the read was ended by %v while the write moved", err)
		default:
		}
	})
}

func TestConn_ReadingDoesNotExcuseASlowResponse(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, peer net.Conn) {
		c.queue = func() int64 { return 1 }
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 10_000))
			written <- err
		}()
		go sip(peer, 100, time.Second)
		synctest.Wait()
		_, err := c.Read(make([]byte, 1))
		wantEnd(t, l, <-written, ErrSlow, Stats{Slow: 1}, peer)
		if !errors.Is(err, ErrSlow) {
			t.Errorf("the read returned %v", err)
		}
	})
}

func TestConn_CloseEndsBlockedCalls(t *testing.T) {
	bubble(t, testLimits, func(t *testing.T, l *Listener, c *Conn, _ net.Conn) {
		woken := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			woken <- err
		}()
		synctest.Wait()
		l.CloseConns()
		if err := <-woken; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read returned %v", err)
		}
		if got, want := l.Stats(), (Stats{Accepted: 1}); got != want {
			t.Errorf("counts are %+v, want %+v", got, want)
		}
	})
}
