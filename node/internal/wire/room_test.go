package wire

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestDefaultConnections_LeavesDescriptorsForOthers(t *testing.T) {
	t.Parallel()
	for descriptors, want := range map[uint64]int{0: 0, 1: 1, 256: 80, 1024: 416, 65536: 32224} {
		got := DefaultConnections(descriptors, 0)
		if got != want {
			t.Errorf("of %d descriptors %d connections, want %d", descriptors, got, want)
		}
		if used := 2*got + MaxHeld(descriptors) + 64; descriptors >= 256 && uint64(used) > descriptors {
			t.Errorf("of %d descriptors %d may be used", descriptors, used)
		}
	}
	if got := DefaultConnections(1024, 4000); got != 256 {
		t.Errorf("beside a large store %d connections, want a quarter of 1024", got)
	}
	if Descriptors() > 0 {
		l, err := New(&stubListener{}, Config{Reserved: 7})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.Limit(), DefaultConnections(Descriptors(), 7); got != want {
			t.Errorf("by default %d connections, want %d", got, want)
		}
	}
	unlimited, err := New(&stubListener{}, Config{Connections: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got := unlimited.Limit(); got != 0 {
		t.Errorf("a negative number became a limit of %d", got)
	}
}

// crowd is a Listener in a bubble, whose connections are served by an echo.
type crowd struct {
	*Listener
	under    *stubListener
	accepted chan struct{}
	ended    map[net.Conn]chan error // by the end of the peer: why reading ended
}

func newCrowd(t *testing.T, config Config) *crowd {
	t.Helper()
	c := &crowd{
		under: &stubListener{accept: make(chan any)}, accepted: make(chan struct{}, 100), ended: map[net.Conn]chan error{},
	}
	var err error
	if c.Listener, err = New(c.under, config); err != nil {
		t.Fatal(err)
	}
	return c
}

// arrive returns the peer's end of a new connection, which is open only when Accept has returned.
func (c *crowd) arrive() net.Conn {
	server, peer := net.Pipe()
	ended := make(chan error, 1)
	c.ended[peer] = ended
	go func() {
		conn, err := c.Accept()
		if err == nil {
			c.accepted <- struct{}{}
			_, err = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
			_ = conn.Close()
		}
		ended <- err
	}()
	c.under.accept <- server
	return peer
}

// displaced reports whether the connection was closed for another one.
func (c *crowd) displaced(peer net.Conn) bool {
	select {
	case err := <-c.ended[peer]:
		return errors.Is(err, ErrDisplaced)
	default:
		return false
	}
}

func TestListener_FullClosesTheConnIdleForLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noticed := 0
		config := testLimits
		config.Connections, config.OnFull = 3, func() { noticed++ }
		c := newCrowd(t, config)
		var peers []net.Conn
		for range 3 {
			peers = append(peers, c.arrive())
			pass(time.Second)
		}
		for _, i := range []int{0, 2} { // which makes the second one idle for longest
			send(t, peers[i], 1)
			receive(t, peers[i], 1)
			pass(time.Second)
		}
		for i, first := range []int{1, 0, 2} {
			peers = append(peers, c.arrive())
			synctest.Wait()
			if !c.displaced(peers[first]) {
				t.Errorf("new connection %d: connection %d was not closed", i, first)
			}
			pass(time.Second)
		}
		if got, want := c.Stats(), (Stats{Open: 3, Accepted: 6, Displaced: 3}); got != want {
			t.Errorf("counts are %+v, want %+v", got, want)
		}
		if noticed != 1 {
			t.Errorf("told %d times within a minute that it is full", noticed)
		}
		for _, peer := range peers[3:] {
			send(t, peer, 1)
			receive(t, peer, 1)
		}
		c.end(peers)
	})
}

// end closes everything.
func (c *crowd) end(peers []net.Conn) {
	_ = c.Close()
	c.CloseConns()
	for _, peer := range peers {
		_ = peer.Close()
	}
	synctest.Wait()
}

// A connection in the middle of a request is never displaced. The new one waits for the first that ends or becomes idle.
func TestListener_FullOfRequestsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testLimits
		config.Connections = 2
		c := newCrowd(t, config)
		peers := []net.Conn{c.arrive(), c.arrive()}
		for _, peer := range peers {
			send(t, peer, 1) // the response waits for the peer
		}
		synctest.Wait()
		third := c.arrive()
		synctest.Wait()
		if got := c.Stats(); got.Accepted != 2 || got.Displaced != 0 {
			t.Errorf("counts are %+v, want nobody displaced", got)
		}
		receive(t, peers[1], 1) // which makes it idle
		synctest.Wait()
		if !c.displaced(peers[1]) {
			t.Error("the connection that became idle made no room")
		}
		fourth := c.arrive()
		fifth := c.arrive()
		synctest.Wait()
		send(t, fifth, 1)
		receive(t, fifth, 1)
		c.end(append(peers, third, fourth, fifth))
	})
}

// Close wakes an Accept that waits for room, and the connection that it had is closed.
func TestListener_CloseEndsTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testLimits
		config.Connections = 1
		c := newCrowd(t, config)
		busy := c.arrive()
		send(t, busy, 1)
		synctest.Wait() // until it is busy
		late := c.arrive()
		synctest.Wait()
		_ = c.Close()
		synctest.Wait()
		if err := <-c.ended[late]; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v", err)
		}
		if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer reads %v", err)
		}
		c.end([]net.Conn{busy, late})
	})
}
