package origin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/origin/sign"
	"brink/protocol"
)

// maxIntent bounds a bundle intent in bytes.
const maxIntent = channel.MaxIntent

// Limits of the connections to other nodes.
const (
	dialWait     = 3 * time.Second  // a node that is slower to connect to is as bad as one that is down
	answerWait   = 30 * time.Second // the node may have to fetch the bundle itself first
	idleWait     = 90 * time.Second
	connsPerHost = 16 // twice the slots, for two nodes that fill from each other
	idlePerHost  = 4
)

// NewClient returns an HTTP client for requests between nodes. All peers should share one. Close its idle connections
// when it is not used any more.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dialWait, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   2 * dialWait,
			ResponseHeaderTimeout: answerWait,
			IdleConnTimeout:       idleWait,
			MaxConnsPerHost:       connsPerHost,
			MaxIdleConnsPerHost:   idlePerHost,
			ForceAttemptHTTP2:     true,
			// Chunks are compressed already, and indexes are requested rarely. Without compression, a bound on what is read also
			// bounds what is sent.
			DisableCompression: true,
		},
		// Nodes do not redirect their peers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// PeerConfig configures a [Peer].
type PeerConfig struct {
	Name string       // of the node, as in its own configuration
	URL  string       // base URL of its HTTP
	Ring *sign.Ring   // signs requests; nil: they are not signed
	HTTP *http.Client // see NewClient
}

// Peer is another node as a source. Use [NewPeer].
type Peer struct {
	config PeerConfig
}

var _ Source = (*Peer)(nil)

// NewPeer returns a node as a source. It does not connect to it.
func NewPeer(config PeerConfig) (*Peer, error) {
	base, err := protocol.NodeURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", config.Name, err)
	}
	if config.HTTP == nil {
		return nil, fmt.Errorf("peer %s: no HTTP client", config.Name)
	}
	config.URL = base
	return &Peer{config: config}, nil
}

// Name implements [Source].
func (p *Peer) Name() string { return p.config.Name }

// IntentPath returns the path of the bundle intent of a bundle on a node.
func IntentPath(id digest.Digest) string { return "/v1/bundles/" + id.String() + "/intent" }

// Bundle implements [Source].
func (p *Peer) Bundle(ctx context.Context, id digest.Digest, limit int64) (index, intent []byte, err error) {
	if index, err = p.fetch(ctx, protocol.IndexPath(id), limit); err != nil {
		return nil, nil, fmt.Errorf("index: %w", err)
	}
	intent, err = p.fetch(ctx, IntentPath(id), maxIntent)
	if err != nil && !errors.Is(err, ErrNotFound) && protocol.CodeOf(err) != protocol.CodeUnsigned {
		return nil, nil, fmt.Errorf("bundle intent: %w", err)
	}
	return index, intent, nil // the intent is optional: it only says who uploaded the bundle
}

// Chunks implements [Source].
func (p *Peer) Chunks(
	ctx context.Context, _ *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error,
) error {
	for len(want) > 0 {
		n := min(len(want), protocol.MaxBatch)
		if err := p.fetchBatch(ctx, want[:n], put); err != nil {
			return err
		}
		want = want[n:]
	}
	return nil
}

func (p *Peer) fetchBatch(ctx context.Context, want []bundle.Chunk, put func(bundle.Frame) error) error {
	batch := protocol.Batch{Chunks: make([]digest.Digest, len(want))}
	for i, c := range want {
		batch.Chunks[i] = c.Digest
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	resp, err := p.do(ctx, http.MethodPost, "/v1/chunks", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	stream := bundle.NewStreamReader(resp.Body)
	for {
		frame, err := stream.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bundle.ErrMalformed):
			return fault(err)
		case err != nil:
			return err
		case frame.Encoding == bundle.Absent:
			continue
		}
		if err := put(frame); err != nil {
			return err
		}
	}
}

// fetch returns the body at path, of at most limit bytes.
func (p *Peer) fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	resp, err := p.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := protocol.ReadAnswer(resp, limit)
	if errors.Is(err, protocol.ErrTooLong) {
		err = fault(err)
	}
	return raw, err
}

// do sends a signed request and returns a successful response. The caller closes its body.
func (p *Peer) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.config.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set(HopsField, strconv.Itoa(Hops(ctx)+1))
	if p.config.Ring != nil {
		request := sign.Request{To: p.config.Name, Method: method, Target: req.URL.RequestURI(), Body: digest.Sum(body)}
		req.Header.Set("Authorization", p.config.Ring.Sign(request, time.Now()))
	}
	resp, err := p.config.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	err = protocol.ProblemOf(resp)
	if resp.StatusCode == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return nil, err
}
