// Package plugin answers devices that run Capgo's updater plugin (@capgo/capacitor-updater): what there is for them,
// what they may follow, what has happened to them. It speaks the plugin's protocol, version by version, and decides
// nothing by itself.
//
// The life of one check: the body becomes an [info], or an answer that says what is wrong with it. [channel.Choose]
// says which channel the device follows and [channel.Resolve] what it gets from it; the decision becomes one of Capgo's
// words (see words.go), or a release. A release is served in the form that this version of the plugin takes: as a list
// of files, or as one zip. The list is rendered once for all devices and kept while there is room.
//
// The invariants: no targeting logic lives here; an answer that has something for the device never has a member
// "error", "kind" or null, which some versions take for a refusal; a list of files is complete or not sent at all;
// nothing is kept for a device but the channel that an old plugin has chosen, and that is durable, bounded and expires.
//
// Facts about the plugin come from its published sources, and were tried with its real Java code: see
// e2e/capgo_test.go.
package plugin

import (
	"errors"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// Edge is what the handlers need of the node. Its methods are called at the same time from many requests, and all but
// Read only look into memory or make a small read of the disk.
type Edge interface {
	// Channels returns the manifests of an app that are in force, in the order of their names, and whether the node
	// serves the app at all. What it returns is not changed afterwards, by nobody.
	Channels(app string) (list []*channel.Manifest, served bool)
	// Index returns the index of a bundle that is complete here. Any error means that it is not.
	Index(id digest.Digest) (*bundle.Index, error)
	// Read returns the bytes of a file of a bundle. The caller owns them. It may block until they are read.
	Read(id digest.Digest, f *bundle.File) ([]byte, error)
	// Brotli returns how many bytes a file has as brotli, and 0 when it is not worth it. known is false while it has not
	// been made yet; asking has it made. It does not block.
	Brotli(id digest.Digest, f *bundle.File) (size int64, known bool)
}

// Choices keeps which channels the devices of old plugins have chosen; newer ones remember it themselves.
type Choices interface {
	// Chosen returns the channel that a device has chosen, "" if none or if it was too long ago.
	Chosen(app, device string) string
	// Choose keeps the choice of a device; an empty channel removes it. It is idempotent, may block, and the choice is
	// durable on return. An error means that nothing was kept: there are too many, or the disk is full.
	Choose(app, device, channel string) error
}

// Event is something that has happened to a device, as it tells itself.
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

// Check is one question of a device whether there is something new, and what came of it.
type Check struct {
	App, Version, Device string // as in an Event
	Kind                 channel.Kind
}

// Config says what a Server works with. All fields but Now are required.
type Config struct {
	Edge    Edge
	Choices Choices
	Checked func(Check) // takes a check that was decided; it must not block
	Count   func(Event) // takes an event; it must not block
	Now     func() time.Time
}

// Validate reports everything that is missing, and fills in Now.
func (c *Config) Validate() error {
	if c.Edge == nil || c.Choices == nil || c.Checked == nil || c.Count == nil {
		return errors.New("capgo: all of the config but now is required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Server answers requests. It has no goroutines and needs no closing.
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

// Request is one request as the handlers want it. Body and Query belong to the caller.
type Request struct {
	Method string
	Body   []byte                   // at most what the limits below say; the caller sees to that
	Query  func(name string) string // "" for what is not there
	Base   string                   // URL below which the files are served, without a slash at its end
}

// The most bytes that a body may have: a device tells little of itself, many events at once, and as many names of files
// as a bundle has.
const (
	MaxInfo  = 16 << 10
	MaxStats = 1 << 20
	MaxSizes = 16 << 20
)

// Answer is what is sent back: JSON, never to be cached.
type Answer struct {
	Status int
	Body   []byte // must not be changed
	Gzip   []byte // the same as gzip for those who take it; nil: there is none
}

// Health answers GET on the paths of checks and of events, by which Capgo's own servers are watched too.
func (s *Server) Health() Answer { return say(200, status{Status: "ok"}) }
