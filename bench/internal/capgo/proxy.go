package capgo

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"brink/bench/internal/testbed"
)

// countingProxy is between devices and a server in the round that is not timed, and counts responses. It does not count
// the statistics that devices send, which are not part of an update and come at any time.
type countingProxy struct {
	url    string
	server *http.Server
	ended  chan error

	mu    sync.Mutex
	to    *url.URL
	count traffic
}

// traffic is what has passed. Bytes are those of response bodies, as sent. answer is the part of the checks.
type traffic struct{ requests, files, bytes, answer int64 }

// openProxy starts a proxy on loopback, without a server behind it yet.
func openProxy() (*countingProxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &countingProxy{url: "http://" + l.Addr().String(), ended: make(chan error, 1)}
	p.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			p.mu.Lock()
			defer p.mu.Unlock()
			r.SetURL(p.to)
			r.Out.Host = r.In.Host // the node puts this address into the URLs of its response
		},
		ModifyResponse: p.pass,
	}}
	go func() { p.ended <- p.server.Serve(l) }()
	return p, nil
}

func (p *countingProxy) close() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// forwardTo sets the server behind the proxy, and returns the URL that devices use instead of the server's.
func (p *countingProxy) forwardTo(server string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = &url.URL{Scheme: "http", Host: strings.TrimPrefix(server, "http://")}
	return p.url
}

// reset sets the counts to zero.
func (p *countingProxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count = traffic{}
}

// total returns the counts since the last reset.
func (p *countingProxy) total() traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// pass counts a response, and its body as it is read.
func (p *countingProxy) pass(resp *http.Response) error {
	at := resp.Request.URL.Path
	p.mu.Lock()
	defer p.mu.Unlock()
	var count []*int64
	switch {
	case at == testbed.CapgoPath:
		p.count.requests++
		count = []*int64{&p.count.bytes, &p.count.answer}
	case strings.Contains(at, "/files/"):
		p.count.requests++
		p.count.files++
		count = []*int64{&p.count.bytes}
	}
	resp.Body = &countedBody{ReadCloser: resp.Body, proxy: p, count: count}
	return nil
}

// countedBody is the body of a response.
type countedBody struct {
	io.ReadCloser

	proxy *countingProxy
	count []*int64 // of the proxy
}

func (b *countedBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	b.proxy.mu.Lock()
	defer b.proxy.mu.Unlock()
	for _, c := range b.count {
		*c += int64(n)
	}
	return n, err
}
