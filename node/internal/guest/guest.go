// Package guest connects foreign update protocols to a node: those of other services, whose plugins apps already
// contain and which use this node instead of the service.
//
// The life of one guest: it is created with the [Edge], its only access to the node. Its routes are added to the table.
// Before a release comes into force, it lists the representations that its devices will ask for. Its handlers translate
// requests for package channel, and decisions back.
//
// The invariant: nothing depends on a guest, which can be removed by deleting its folder and its line in package node.
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

// Guest is a foreign update protocol.
type Guest interface {
	// Routes returns the routes of the protocol.
	Routes() []serve.Route
	// Wants returns the representations that its devices will ask for when m is in force. It may read indexes.
	Wants(m *channel.Manifest) []represent.Derivation
	// IsVersion reports whether its devices may report version although no channel has served it, so that statistics
	// count it by name.
	IsVersion(version string) bool
}

// Choices are the channels that devices have chosen for themselves, see package choices.
type Choices interface {
	// Chosen returns the channel that a device has chosen, or "". It does not block.
	Chosen(app, device string) string
	// Choose stores a choice; "" withdraws it. It is durable on return.
	Choose(app, device, name string) error
}

// Edge is the access of a guest to the node.
type Edge struct {
	Context context.Context // ends when the node does
	State   *force.State
	Bundles *bundles.Source
	Server  *represent.Server
	Files   serve.Handler // answers with the file of a bundle: the first two names are its digest and its path
	Choices Choices
	// Check counts a check for updates. It does not block.
	Check func(app, version string, outcome tally.Outcome, device string)
	// Event counts an event that a device reports. It does not block.
	Event func(tally.Event)

	PublicURL string // by which devices reach the node; empty: as in each request
	OwnURL    string // of the listener
	Secure    bool   // the listener speaks TLS
	Builders  int    // how many representations may be built at the same time
	Logger    *slog.Logger
	Now       func() time.Time
}

// BaseURL returns the URL of the node for a device, without a trailing slash: the configured one, or that of the
// request. A request with a forged Host affects only its own answer.
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
