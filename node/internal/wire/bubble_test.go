package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Most tests of connections run in a bubble with a clock of its own, over pipes: time passes when nobody can go on.

var testLimits = Config{
	Idle: 60 * time.Second, Stall: 10 * time.Second, Grace: 20 * time.Second, ReadRate: 100, WriteRate: 1000,
}

// pass advances the clock of the bubble by d.
func pass(d time.Duration) { <-time.After(d) }

// bubble runs f with both ends of a connection of a Listener with that config, and closes them afterwards.
func bubble(t *testing.T, config Config, f func(t *testing.T, l *Listener, c *Conn, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		under := &stubListener{accept: make(chan any, 1)}
		l, err := New(under, config)
		if err != nil {
			t.Fatal(err)
		}
		server, peer := net.Pipe()
		under.accept <- server
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f(t, l, c.(*Conn), peer)
		l.CloseConns()
		peer.Close()
		pass(time.Minute) // in which whoever pauses tries again and sees that it is closed
	})
}

// stubListener accepts the connections and errors it is given.
type stubListener struct{ accept chan any }

func (l *stubListener) Accept() (net.Conn, error) {
	switch v := (<-l.accept).(type) {
	case net.Conn:
		return v, nil
	case error:
		return nil, v
	}
	return nil, net.ErrClosed
}
func (l *stubListener) Close() error   { close(l.accept); return nil }
func (l *stubListener) Addr() net.Addr { return &net.TCPAddr{} }

// send writes n bytes or fails the test.
func send(t *testing.T, w io.Writer, n int) {
	t.Helper()
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Errorf("write of %d bytes: %v", n, err)
	}
}

// receive reads n bytes or fails the test.
func receive(t *testing.T, r io.Reader, n int) {
	t.Helper()
	if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
		t.Errorf("read of %d bytes: %v", n, err)
	}
}

// wantEnd checks the error of a call that a limit should have ended, and that the peer sees the close.
func wantEnd(t *testing.T, l *Listener, err, want error, counted Stats, peer net.Conn) {
	t.Helper()
	var timeout net.Error
	isTimeout := errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &timeout) && timeout.Timeout()
	if !errors.Is(err, want) || !isTimeout {
		t.Errorf("the call returned %v, want %v", err, want)
	}
	counted.Accepted = 1
	if got := l.Stats(); got != counted {
		t.Errorf("counts are %+v, want %+v", got, counted)
	}
	if _, err := peer.Write([]byte{0}); err == nil {
		t.Error("the peer can still write")
	}
}

// drip writes n bytes repeatedly with a pause between, until it fails.
func drip(w io.Writer, n int, pause time.Duration) {
	for err := error(nil); err == nil; pass(pause) {
		_, err = w.Write(make([]byte, n))
	}
}

// sip reads n bytes repeatedly with a pause between, until it fails.
func sip(r io.Reader, n int, pause time.Duration) {
	for err := error(nil); err == nil; pass(pause) {
		_, err = io.ReadFull(r, make([]byte, n))
	}
}
