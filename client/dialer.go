package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// dialer opens the connections of an [http.Transport]. It can open them early, so that parallel requests for an archive
// do not wait for handshakes.
type dialer struct {
	net.Dialer

	proxy func(*http.Request) (*url.URL, error)
	roots *x509.CertPool // nil: those of the system

	mu    sync.Mutex
	ahead map[target]*openings
}

// target is the destination of a connection.
type target struct {
	address string // host and port
	secure  bool   // TLS
}

// openings are connections to one target that are opened early. They are used in the order in which they become ready,
// because one whose first packet is lost takes a second longer.
type openings struct {
	cancel context.CancelFunc
	left   int // number of unused ones; guarded by mu
	ready  chan opened
}

// opened is the result of opening one of them.
type opened struct {
	conn net.Conn
	err  error
}

func (o opened) close() {
	if o.conn != nil {
		_ = o.conn.Close() // it was never used
	}
}

// Timeouts for connections, and the maximum size of the head of a response in bytes.
const (
	dialTimeout      = answerWait
	handshakeTimeout = answerWait
	keepAlive        = 30 * time.Second
	maxHead          = 64 << 10
)

func newDialer() *dialer {
	return &dialer{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}, ahead: map[target]*openings{}}
}

// transport returns a transport that uses d, and keeps up to the given number of idle connections to one node.
func (d *dialer) transport(connections int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = maxHead
	t.MaxIdleConnsPerHost = connections
	d.proxy = t.Proxy
	t.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		return d.connect(ctx, target{address: address})
	}
	t.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		return d.connect(ctx, target{address: address, secure: true})
	}
	return t
}

// openAhead starts to open n connections to a node. The next requests to it use them, until closeUnused is called.
func (d *dialer) openAhead(ctx context.Context, node string, n int) {
	u, err := url.Parse(node)
	if err != nil {
		return // the request to the node fails too
	}
	if via, err := d.proxy(&http.Request{URL: u}); err != nil || via != nil {
		return
	}
	to, port := target{secure: u.Scheme == "https"}, u.Port()
	switch {
	case port != "":
	case to.secure:
		port = "443"
	default:
		port = "80"
	}
	to.address = net.JoinHostPort(u.Hostname(), port)
	ctx, cancel := context.WithCancel(ctx)
	all := &openings{cancel: cancel, left: n, ready: make(chan opened, n)}
	for range n {
		go func() {
			conn, err := d.dial(ctx, to)
			all.ready <- opened{conn, err}
		}()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead[to] = all
}

// closeUnused closes the early connections that were not used, and waits until all are closed.
func (d *dialer) closeUnused() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, all := range d.ahead {
		all.cancel()
		for range all.left {
			(<-all.ready).close()
		}
	}
	clear(d.ahead)
}

// connect returns an early connection, or else opens a new one.
func (d *dialer) connect(ctx context.Context, to target) (net.Conn, error) {
	d.mu.Lock()
	all := d.ahead[to]
	if all == nil || all.left == 0 {
		d.mu.Unlock()
		return d.dial(ctx, to)
	}
	all.left--
	d.mu.Unlock()
	select {
	case o := <-all.ready:
		if o.err != nil {
			return d.dial(ctx, to)
		}
		return o.conn, nil
	case <-ctx.Done():
		d.mu.Lock()
		dropped := d.ahead[to] != all
		if !dropped {
			all.left++
		}
		d.mu.Unlock()
		if dropped {
			(<-all.ready).close()
		}
		return nil, ctx.Err()
	}
}

// dial opens a connection.
func (d *dialer) dial(ctx context.Context, to target) (net.Conn, error) {
	raw, err := d.DialContext(ctx, "tcp", to.address)
	if err != nil || !to.secure {
		return raw, err
	}
	host, _, err := net.SplitHostPort(to.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{
		ServerName: host, RootCAs: d.roots, NextProtos: []string{"h2", "http/1.1"},
	})
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the error of the handshake is the relevant one
		return nil, err
	}
	return conn, nil
}
