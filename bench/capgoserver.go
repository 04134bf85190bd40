package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"brink/bench/internal/testbed"
)

// handMade is what somebody would make by hand to serve one release to Capgo's plugin: nginx with static files, one of
// which is the answer to every check.
type handMade struct {
	testbed.Server

	files string
}

// handMadeConfig answers POST by a file, for which nginx has no other way than to take its own refusal back.
const handMadeConfig = `daemon off; master_process on; worker_processes {{.Workers}}; pid {{.Dir}}/hand.pid; user root;
error_log {{.Dir}}/hand.error.log warn;
events { worker_connections 4096; multi_accept on; }
http {
	access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;
	keepalive_timeout 75s; keepalive_requests 100000000;
	client_body_temp_path {{.Dir}}/hand.body; proxy_temp_path {{.Dir}}/hand.proxy;
	fastcgi_temp_path {{.Dir}}/hand.fastcgi; uwsgi_temp_path {{.Dir}}/hand.uwsgi; scgi_temp_path {{.Dir}}/hand.scgi;
	types { application/zip zip; } default_type application/octet-stream;
	server {
		listen {{.Address}} backlog=4096; root {{.Hand}};
		add_header Cache-Control "public, max-age=31536000, immutable";
		location = /capgo/updates { default_type application/json; gzip_static on; error_page 405 =200 $uri; }
		location = /capgo/stats { default_type application/json; return 200 '{"status":"ok"}'; }
	}
}
`

// startHandMade starts nginx; it has no files yet.
func startHandMade(ctx context.Context, s *testbed.Testbed) (*handMade, error) {
	address, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	h := &handMade{files: filepath.Join(s.Dir, "hand")}
	if err := os.MkdirAll(filepath.Join(h.files, "capgo"), 0o755); err != nil {
		return nil, err
	}
	config, err := s.WriteConfig("hand.conf", handMadeConfig, map[string]any{"Address": address, "Hand": h.files})
	if err != nil {
		return nil, err
	}
	h.Name, h.URL = "nginx", "http://"+address
	h.Cmd, err = s.StartProgram(ctx, address, nil, "nginx", "-p", s.Dir, "-c", config)
	return h, err
}

// capgoAnswer is what there is to know of an answer that has something for a device.
type capgoAnswer struct {
	URL      string `json:"url"`
	Manifest []struct {
		Name string `json:"file_name"`
		URL  string `json:"download_url"`
	} `json:"manifest"`
}

// mirror has nginx serve what the node has for the devices of a channel: the node's own answer to a new device, with
// base in place of the node's address, and the very bytes that it names.
func (h *handMade) mirror(ctx context.Context, node, follows, base string) error {
	request := testbed.CapgoRequest(testbed.App, follows, "builtin")
	request["version_build"] = capgoNative
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	raw, err := fetched(ctx, http.MethodPost, node+testbed.CapgoPath, body)
	if err != nil {
		return err
	}
	var a capgoAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	if a.URL == "" {
		return fmt.Errorf("the node has nothing for a new device: %.200s", raw)
	}
	urls := []string{a.URL}
	if len(a.Manifest) > 0 {
		urls, err = urls[:0], errors.New("none of the files has a brotli")
		for _, f := range a.Manifest {
			urls = append(urls, f.URL)
			if strings.HasSuffix(f.Name, ".br") {
				err = nil
			}
		}
	}
	if err != nil {
		return err
	}
	for _, from := range urls {
		if err := h.keep(ctx, from); err != nil {
			return err
		}
	}
	raw = bytes.ReplaceAll(raw, []byte(node), []byte(base))
	var small bytes.Buffer
	packer := gzip.NewWriter(&small)
	if _, err := packer.Write(raw); err != nil {
		return err
	}
	if err := packer.Close(); err != nil {
		return err
	}
	at := filepath.Join(h.files, filepath.FromSlash(testbed.CapgoPath))
	return errors.Join(os.WriteFile(at, raw, 0o644), os.WriteFile(at+".gz", small.Bytes(), 0o644))
}

// keep fetches a file, unless it is there.
func (h *handMade) keep(ctx context.Context, from string) error {
	u, err := url.Parse(from)
	if err != nil {
		return err
	}
	at := filepath.Join(h.files, filepath.FromSlash(path.Clean("/"+u.Path)))
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	raw, err := fetched(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, raw, 0o644))
}

var errNotFound = errors.New("not found")

// fetched makes a request that has to be answered with 200, and returns the answer.
func fetched(ctx context.Context, method, from string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, from, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := testbed.NewClient().Do(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s: %w", from, errNotFound)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", from, resp.Status, raw)
	}
	return raw, nil
}

// capgoGate stands between a device and a server in the round that is not timed, and counts what passes. What devices
// tell of themselves is not counted: it does not belong to the update, and comes when it comes.
type capgoGate struct {
	url    string
	server *http.Server
	ended  chan error

	mu    sync.Mutex
	to    *url.URL
	count capgoCount
}

// capgoCount is what has passed. Bytes are those of the bodies of answers, as they were sent.
type capgoCount struct{ requests, files, bytes, answer int64 }

func openCapgoGate() (*capgoGate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &capgoGate{url: "http://" + l.Addr().String(), ended: make(chan error, 1)}
	g.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			g.mu.Lock()
			defer g.mu.Unlock()
			r.SetURL(g.to)
			r.Out.Host = r.In.Host // the node then names this address to the device
		},
		ModifyResponse: g.pass,
	}}
	go func() { g.ended <- g.server.Serve(l) }()
	return g, nil
}

func (g *capgoGate) close() error {
	err := g.server.Close()
	if ended := <-g.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// before puts the gate before a server, and returns the address that devices are to ask in its place.
func (g *capgoGate) before(server string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = &url.URL{Scheme: "http", Host: strings.TrimPrefix(server, "http://")}
	return g.url
}

func (g *capgoGate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count = capgoCount{}
}

func (g *capgoGate) counted() capgoCount {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// pass counts an answer, and what is read of it before it goes to the device.
func (g *capgoGate) pass(resp *http.Response) error {
	at := resp.Request.URL.Path
	g.mu.Lock()
	defer g.mu.Unlock()
	var count []*int64
	switch {
	case at == testbed.CapgoPath:
		g.count.requests++
		count = []*int64{&g.count.bytes, &g.count.answer}
	case strings.Contains(at, "/files/"):
		g.count.requests++
		g.count.files++
		count = []*int64{&g.count.bytes}
	}
	resp.Body = &capgoCounted{ReadCloser: resp.Body, gate: g, count: count}
	return nil
}

// capgoCounted is the body of an answer.
type capgoCounted struct {
	io.ReadCloser

	gate  *capgoGate
	count []*int64 // of the gate
}

func (b *capgoCounted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	for _, c := range b.count {
		*c += int64(n)
	}
	return n, err
}
