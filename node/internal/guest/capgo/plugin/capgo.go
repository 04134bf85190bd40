// Package plugin implements the protocol of Capgo's updater plugin (@capgo/capacitor-updater), in all its versions:
// checks for updates, the choice of channels, and events. It decides nothing by itself.
//
// The life of one check: the body is decoded to an [info], or refused. [channel.Choose] returns the channel that the
// device follows and [channel.Resolve] the decision. The answer is one of Capgo's codes (see words.go), or a release. A
// release is served in the form that this version of the plugin accepts: as a list of files, or as one zip. The list is
// rendered once for all devices and cached while there is room.
//
// The invariants: there is no targeting logic here; an answer with an update never has a member "error", "kind" or
// null, which some versions treat as a refusal; a list of files is complete or not sent at all; nothing is stored for a
// device except the channel that it has chosen with an old plugin, and that is durable, bounded and expires.
//
// Facts about the plugin are from its published sources, and were checked with its real Java code: see
// e2e/capgo_test.go.
package plugin

import (
	"errors"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// Edge is what the handlers need from the node. Its methods are called concurrently, and all except Read only access
// memory or do a small read from the disk.
type Edge interface {
	// Channels returns the manifests of an app that are in force, in the order of their names, and whether the node
	// serves the app at all. The result must not be changed.
	Channels(app string) (list []*channel.Manifest, served bool)
	// Index returns the index of a bundle that is complete here. Any error means that it is not.
	Index(id digest.Digest) (*bundle.Index, error)
	// Read returns the bytes of a file of a bundle. The caller owns them. It may block until they are read.
	Read(id digest.Digest, f *bundle.File) ([]byte, error)
	// Brotli returns the size of a file as brotli in bytes, or 0 if that is not worth it. If it has not been built yet,
	// known is false, and it is built in the background. It does not block.
	Brotli(id digest.Digest, f *bundle.File) (size int64, known bool)
}

// Choices stores which channels the devices of old plugins have chosen; newer plugins store it themselves.
type Choices interface {
	// Chosen returns the channel that a device has chosen, or "" if there is none or it has expired.
	Chosen(app, device string) string
	// Choose stores the choice of a device; an empty channel removes it. It is idempotent, may block, and the choice is
	// durable on return. An error means that nothing was stored: there are too many, or the disk is full.
	Choose(app, device, channel string) error
}

// Event is an event that a device reports.
type Event struct {
	App        string
	Version    string // what it is about: a version of the app, or a name that the app gave it; may be empty
	OldVersion string // the one before, if any
	Action     string // what happened: 1 to 64 letters, digits and underscores, see stats.go
	Platform   channel.Platform
	Device     string // UUID in lower case; nothing proves that it is a real one
	Plugin     string // version of the plugin
	When       time.Time
}

// Check is one check of a device for updates, and its outcome.
type Check struct {
	App, Version, Device string // as in an Event
	Kind                 channel.Kind
}

// Config says what a Server works with. All fields but Now are required.
type Config struct {
	Edge    Edge
	Choices Choices
	Checked func(Check) // counts a check; it must not block
	Count   func(Event) // counts an event; it must not block
	Now     func() time.Time
}

// Validate reports everything that is missing, and fills in Now.
func (c *Config) Validate() error {
	if c.Edge == nil || c.Choices == nil || c.Checked == nil || c.Count == nil {
		return errors.New("capgo: Edge, Choices, Checked and Count are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Server answers requests. It has no goroutines and need not be closed.
type Server struct {
	config   Config
	rendered rendered
}

// New returns a Server.
func New(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Server{config: config, rendered: rendered{most: maxKept, kept: map[subject]*answer{}}}, nil
}

// Request is one request. Body and Query belong to the caller.
type Request struct {
	Method string
	Body   []byte                   // within the limits below, which the caller enforces
	Query  func(name string) string // "" for absent parameters
	Base   string                   // URL below which the files are served, without a slash at its end
}

// Limits of bodies in bytes: MaxInfo is for those about one device, MaxStats for many events, and MaxSizes for the
// names of all files of a bundle.
const (
	MaxInfo  = 16 << 10
	MaxStats = 1 << 20
	MaxSizes = 16 << 20
)

// Answer is an answer: JSON that must not be cached.
type Answer struct {
	Status int
	Body   []byte // must not be changed
	Gzip   []byte // Body as gzip, for clients that accept it; nil: there is none
}

// Health answers GET on the paths of checks and events, which is the health check of Capgo's own servers.
func (s *Server) Health() Answer { return say(200, status{Status: "ok"}) }
