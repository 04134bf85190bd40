// Package bucket is an origin that needs no program: a bucket of any S3 store, or the same files behind any HTTP
// server, which can only be read.
//
// The life of one bundle: [Bucket.PutBundle] finds out which chunks the bucket lacks, writes those as one pack, the
// index and the intent beside it, and last the map that says where each chunk is. A bundle without a map is not there.
// [Bucket.PutManifest] takes the next sequence of a channel, which only one can have, and then moves the object that
// readers look at. A node that fills reads index and map, and asks for ranges of packs.
//
// The invariant: what is in a bucket is worth no more than the signatures in it. Whoever may write to it can hide and
// destroy, and can make nobody believe anything; so nothing here is checked for truth, and everything is bounded. What
// is acknowledged is as durable as the store is.
//
// docs/origin.md has the layout.
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
	answerWait  = time.Minute      // a store may take its time to assemble a large object
	smallWait   = 30 * time.Second // for all of a small object, tries included
	slowest     = 32 << 10         // bytes a second that an object must make on average
	retries     = 4                // the S3 client waits up to a second between tries
	idlePerHost = 16
)

// Config says how to use a bucket; the zero value is usable.
type Config struct {
	Transport http.RoundTripper // default: one with limits on dialling and on the wait for an answer
	Logger    *slog.Logger      // nil means nowhere
	Now       func() time.Time  // default: time.Now
}

// Bucket is a place for bundles and channels. Use [Open]; it is safe for concurrent use.
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
// The endpoint may also come from AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, the region from AWS_REGION or
// AWS_DEFAULT_REGION; without an endpoint it is Amazon's. style is "path" or "host"; by default it is "host" at Amazon
// and "path" elsewhere. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared credentials file
// and AWS_PROFILE, or the metadata service of the machine or container; without any, requests are not signed. They are
// never part of the URL.
//
// Open asks nobody but a metadata service, for at most two seconds. Close the result.
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

// Name returns the URL without its query, for people.
func (b *Bucket) Name() string { return b.name }

// ReadOnly reports whether the bucket is one that can only be read.
func (b *Bucket) ReadOnly() bool {
	_, readOnly := b.objects.(*web)
	return readOnly
}

// Close lets go of idle connections.
func (b *Bucket) Close() error {
	b.close()
	return nil
}

// objects is what all places have in common. Every method may block and is safe for concurrent use; what is not there
// is [ErrNotFound].
type objects interface {
	// get returns an object, or the part of it that is asked for; the caller closes it. It returns [ErrNotModified] for
	// one that still has the tag.
	get(ctx context.Context, key string, ask ask) (*object, error)
	// put writes an object as a whole: no reader sees a part of it. It returns errExists when the condition does not
	// hold. body is read from its start, more than once if need be.
	put(ctx context.Context, key string, body io.ReadSeeker, size int64, when condition) error
	// size returns how many bytes an object has.
	size(ctx context.Context, key string) (int64, error)
	// list returns the names right below a prefix that ends with a slash; those of folders end with one too. A store
	// that cannot list returns [ErrDenied].
	list(ctx context.Context, prefix string) ([]string, error)
}

// ask says what of an object is wanted. The zero value is all of it.
type ask struct {
	tag    string // that the caller has; empty: none
	offset int64
	length int64 // 0: all
}

type object struct {
	io.ReadCloser

	tag string // as the store gave it; empty when it gave none
}

// condition is what must hold for an object to be written. The zero value is nothing.
type condition struct {
	absent bool   // there must be none
	tag    string // it must be the one of that tag
}

// errExists is returned by put when the condition does not hold.
var errExists = errors.New("it is there already, or has changed")

// read returns a small object as a whole, of at most limit bytes, and its tag.
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
