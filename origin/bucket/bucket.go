// Package bucket implements an origin without a server of its own: a bucket of any S3 store, or a read-only copy of its
// objects behind any HTTP server.
//
// The life of one bundle: [Bucket.PutBundle] finds the chunks that the bucket lacks, writes them as one pack, then the
// index and the intent, and last the map with the location of each chunk. A bundle without a map does not exist.
// [Bucket.PutManifest] claims the next sequence of a channel, which only one manifest can have, and then replaces the
// object that readers read. A node that fills reads the index and the map, and requests ranges of packs.
//
// The invariant: readers trust only the signatures in a bucket. Someone with write access can hide and destroy objects,
// but not forge them. So this package bounds everything that it reads, but does not verify it: its callers do. An
// acknowledged write is as durable as the store.
//
// docs/origin.md has the layout.
//
// The package is part of the node and not an API for other modules.
package bucket

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"brink/origin"
	"brink/protocol"
)

// Limits of the connections to a bucket.
const (
	dialWait    = 5 * time.Second
	answerWait  = time.Minute      // a store may need some time to assemble a large object
	smallWait   = 30 * time.Second // for a small object, including retries
	slowest     = 32 << 10         // the least average rate of a transfer, in bytes per second
	retries     = 4                // the S3 client waits up to a second between tries
	idlePerHost = 16
)

// Config configures a [Bucket]. The zero value is usable.
type Config struct {
	Transport http.RoundTripper // default: one with timeouts for dialling and for the response
	Logger    *slog.Logger      // nil discards
	Now       func() time.Time  // default: time.Now
}

// Bucket stores bundles, channel manifests and trust documents. Use [Open]; it is safe for concurrent use.
type Bucket struct {
	name    string
	objects objects
	config  Config
	close   func()
	probed  atomic.Bool
}

var _ origin.Source = (*Bucket)(nil)

// Open returns the bucket of a URL:
//
//	s3://bucket/prefix?endpoint=https://…&region=…&style=path
//	https://host/prefix   or http://…, which can only be read
//
// The endpoint may also come from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and is Amazon's by default; the region may
// come from AWS_REGION or AWS_DEFAULT_REGION. style is "path" or "host"; the default is "host" at Amazon and "path"
// elsewhere. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared credentials file and
// AWS_PROFILE, or the metadata service of the machine or container; without any, requests are not signed. They cannot
// be part of the URL.
//
// Open sends requests only to a metadata service, for at most two seconds. The caller must close the result.
func Open(ctx context.Context, address string, config Config) (*Bucket, error) {
	place, err := parse(address)
	if err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	b := &Bucket{name: place.String(), config: config, close: func() {}}
	if config.Transport == nil {
		transport := newTransport()
		b.config.Transport, b.close = transport, transport.CloseIdleConnections
	}
	if place.web {
		b.objects = &web{base: place.base, http: &http.Client{Transport: b.config.Transport}}
		return b, nil
	}
	if b.objects, err = openS3(ctx, place, b.config); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialWait, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   2 * dialWait,
		ResponseHeaderTimeout: answerWait,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   idlePerHost,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // ranges are of the bytes as they are stored
	}
}

// Name returns the URL without its query, for people to read.
func (b *Bucket) Name() string { return b.name }

// ReadOnly reports whether the bucket is read over HTTP, and cannot be written.
func (b *Bucket) ReadOnly() bool {
	_, readOnly := b.objects.(*web)
	return readOnly
}

// Close closes idle connections.
func (b *Bucket) Close() error {
	b.close()
	return nil
}

// objects accesses the objects of a bucket. All methods may block and are safe for concurrent use. For a missing object
// they return [ErrNotFound].
type objects interface {
	// get returns an object, or the requested range of it; the caller closes it. It returns [ErrNotModified] for one that
	// still has the tag.
	get(ctx context.Context, key string, ask ask) (*object, error)
	// put writes an object atomically: readers never see a part of it. It returns errExists if the condition is not met.
	// It reads body from its start, possibly more than once.
	put(ctx context.Context, key string, body io.ReadSeeker, size int64, when condition) error
	// size returns the size of an object in bytes.
	size(ctx context.Context, key string) (int64, error)
	// list returns the names directly below a prefix that ends with a slash; those of folders end with one too. A store
	// that cannot list returns [ErrDenied].
	list(ctx context.Context, prefix string) ([]string, error)
}

// ask has the options of a get. The zero value requests the whole object.
type ask struct {
	tag    string // that the caller has; empty: none
	offset int64
	length int64 // 0: all
}

type object struct {
	io.ReadCloser

	tag string // of the store; empty if it sent none
}

// condition is the precondition of a put. The zero value is no condition.
type condition struct {
	absent bool   // the object must not exist
	tag    string // the object must exist with this tag
}

// errExists is returned by put if the condition is not met.
var errExists = errors.New("object exists already, or has changed")

// read returns the content of a small object, of at most limit bytes, and its tag.
func (b *Bucket) read(ctx context.Context, key, tag string, limit int64) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, smallWait+time.Duration(limit/slowest)*time.Second)
	defer cancel()
	o, err := b.objects.get(ctx, key, ask{tag: tag})
	if err != nil {
		return nil, "", err
	}
	defer o.Close()
	raw, err := protocol.ReadAll(o, limit)
	switch {
	case errors.Is(err, protocol.ErrTooLong):
		return nil, "", &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
	case err != nil:
		return nil, "", &Error{Op: "get", Key: key, Err: err}
	}
	return raw, o.tag, nil
}
