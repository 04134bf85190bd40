// Package guest is how a protocol of other devices joins a node: the updaters of other services, which apps have
// shipped already and which ask this node in their place.
//
// The life of one guest: it is made with the [Edge], which is all that it sees of the node. Its routes join the table.
// Before a release comes into force, it says which representations its devices will ask for. Its handlers translate
// what a device asks to a decision of package channel and back.
//
// The invariant: a guest can be removed by deleting its folder and its line in the list of guests, and nothing else
// knows of it.
package guest

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/bundles"
	"brink/node/internal/force"
	"brink/node/internal/represent"
	"brink/node/internal/serve"
	"brink/node/tally"
)

// Guest is a protocol of other devices.
type Guest interface {
	// Routes returns what its devices ask.
	Routes() []serve.Route
	// Wants returns the representations that its devices will ask for when m is in force. It may read indexes.
	Wants(m *channel.Manifest) []represent.Derivation
	// IsVersion reports whether its devices name something as their version that no channel has served, and that counts
	// all the same.
	IsVersion(version string) bool
}

// Choices are the channels that devices have chosen for themselves, see package choices.
type Choices interface {
	// Chosen returns the channel that a device has chosen, or "". It waits for nothing.
	Chosen(app, device string) string
	// Choose keeps a choice; "" takes it back. It is durable on return.
	Choose(app, device, name string) error
}

// Edge is what a guest sees of the node.
type Edge struct {
	Context context.Context // ends when the node does
	State   *force.State
	Bundles *bundles.Source
	Server  *represent.Server
	Files   serve.Handler // answers with the file of a bundle: the first two names are its digest and its path
	Choices Choices
	// Check counts that a device asked, and Event what it reports. Both wait for nothing.
	Check func(app, version string, outcome tally.Outcome, device string)
	Event func(tally.Event)

	PublicURL string // by which devices reach the node; empty: what each request names
	OwnURL    string // of the listener
	Secure    bool   // the listener speaks TLS
	Builders  int    // how many things may be built at the same time
	Logger    *slog.Logger
	Now       func() time.Time
}

// BaseURL returns the URL of the node as a device sees it, without a slash at its end: the one that is configured, or
// the one that the request came to. What a request says of itself leads only its own sender somewhere.
func (e *Edge) BaseURL(r *serve.Request) string {
	if e.PublicURL != "" {
		return strings.TrimRight(e.PublicURL, "/")
	}
	host := r.Host()
	if len(host) == 0 {
		return e.OwnURL
	}
	scheme := "http"
	if e.Secure || string(r.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https" {
		scheme = "https"
	}
	return scheme + "://" + string(host)
}

// Index returns the index of a bundle. One that is missing is fetched.
func (e *Edge) Index(id digest.Digest) (*bundle.Index, error) {
	b, err := e.Bundles.Bundle(id)
	if err != nil {
		return nil, err
	}
	return b.Index, nil
}

// Read returns the bytes of a file of a bundle.
func (e *Edge) Read(id digest.Digest, f *bundle.File) ([]byte, error) {
	return e.Server.ReadPlain(e.Context, represent.FileOf(id, f))
}
