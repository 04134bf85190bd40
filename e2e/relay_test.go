package e2e_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// relay passes connections on to a node, and strikes once so many bytes went through. Its buffers are small, so that
// what it has counted is about what the other side has read.
type relay struct {
	url     string
	target  string
	passed  atomic.Int64
	at      int64
	strike  func()
	once    sync.Once
	downish bool // counts what the node sends, not what it gets

	listener net.Listener
	mu       sync.Mutex
	closed   bool
	open     map[net.Conn]struct{}
	work     sync.WaitGroup
}

const relayBuffer = 128 << 10

// upload returns a relay that strikes when the node was sent so many bytes, download one that strikes when it has sent
// them. It ends with the test.
func upload(t *testing.T, n *node, at int64, strike func()) *relay {
	t.Helper()
	return newRelay(t, n, &relay{at: at, strike: strike})
}

func download(t *testing.T, n *node, at int64, strike func()) *relay {
	t.Helper()
	return newRelay(t, n, &relay{at: at, strike: strike, downish: true})
}

func newRelay(t *testing.T, n *node, r *relay) *relay {
	t.Helper()
	var err error
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	r.url, r.target = "http://"+r.listener.Addr().String(), strings.TrimPrefix(n.url, "http://")
	r.open = map[net.Conn]struct{}{}
	r.work.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.open {
		conn.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

// keep notes a connection that is to be closed at the end.
func (r *relay) keep(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(relayBuffer) // what it counts is then a little off
		_ = tcp.SetWriteBuffer(relayBuffer)
	}
	if r.closed {
		conn.Close()
		return
	}
	r.open[conn] = struct{}{}
}

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.keep(near)
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			near.Close()
			continue
		}
		r.keep(far)
		var both sync.WaitGroup
		both.Go(func() { r.pass(far, near, !r.downish) })
		both.Go(func() { r.pass(near, far, r.downish) })
		r.work.Go(func() {
			both.Wait()
			near.Close()
			far.Close()
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.open, near)
			delete(r.open, far)
		})
	}
}

// pass copies one direction, and hands on its end.
func (r *relay) pass(to, from net.Conn, counted bool) {
	buffer := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				break
			}
			if counted && r.passed.Add(int64(n)) >= r.at && r.strike != nil {
				r.once.Do(r.strike)
			}
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := to.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}
