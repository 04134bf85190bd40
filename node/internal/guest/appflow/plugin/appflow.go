// Package plugin implements the protocol of Ionic Appflow's plugins for live updates: cordova-plugin-ionic, and
// @capacitor/live-updates, the SDK of Capacitor apps and Portals. It translates a request to a [channel.Device], lets
// [channel.Resolve] decide, and translates the decision to an answer of the protocol. It has no rules about which
// device gets what, opens no sockets, and has no state except a cache of facts about bundles.
//
// The life of one update: a device posts what it runs to check-device, and [Appflow.Check] answers with a snapshot and
// a URL. The URL redirects ([Appflow.Location]) to the list of the release's files: for the Cordova plugin the one of
// [WriteManifest], for the SDK the publisher's own signed one, and for older versions a zip. The plugin compares the
// list with the one in its native app, copies the native app's files and fetches those that differ.
//
// The invariant: a device gets the files of one release or a refusal, never files of two releases. So a release with
// file names that a plugin could not fetch, or with a list that does not match its files, is refused when the device
// checks, not after half of the files were fetched.
package plugin

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// Edge is what this package needs from the node. All methods may be called concurrently and are idempotent; their
// results belong to the node and must not be changed.
type Edge interface {
	// Manifest returns the channel manifest in force, or nil. It does not block.
	Manifest(app, channel string) *channel.Manifest
	// HasApp reports whether a channel of the app is in force. It does not block.
	HasApp(app string) bool
	// Index returns the index of a bundle that the node can serve now. It may block until it is read. A bundle that is
	// not here is a [*protocol.Problem] of [protocol.CodeUnknownBundle].
	Index(id digest.Digest) (*bundle.Index, error)
	// Read returns a file of a bundle, at most [MaxSigned] bytes. It may block until it is read.
	Read(id digest.Digest, f *bundle.File) ([]byte, error)
}

// Config configures an [Appflow].
type Config struct {
	// Apps are apps by their ID in Appflow. Any other ID counts as the name of an app, so that devices may also use
	// com.acme.shop as the ID.
	Apps map[string]string
	// Edge is the node; required.
	Edge   Edge
	Logger *slog.Logger     // default: discards
	Now    func() time.Time // default: time.Now
}

// maxID bounds an app's ID in bytes. Appflow's have eight.
const maxID = 128

// Validate reports everything that is wrong with the Config and fills in defaults.
func (c *Config) Validate() error {
	if c.Edge == nil {
		return errors.New("appflow: Edge is required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return CheckApps(c.Apps)
}

// CheckApps reports what is wrong with a map of apps by their Appflow IDs.
func CheckApps(apps map[string]string) error {
	var errs []error
	for id, app := range apps {
		if id == "" || len(id) > maxID || strings.ContainsAny(id, "/?#%") {
			errs = append(errs, fmt.Errorf("appflow app %q: want an ID such as abcd1234", id))
		}
		if err := channel.CheckApp(app); err != nil {
			errs = append(errs, fmt.Errorf("appflow app %q: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// Appflow answers devices. Use [New].
type Appflow struct {
	config Config

	mu     sync.Mutex
	judged map[digest.Digest]verdict
}

// New returns an Appflow. It need not be closed.
func New(config Config) (*Appflow, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Appflow{config: config, judged: map[digest.Digest]verdict{}}, nil
}

// App returns the name of the app with an ID. The app need not exist.
func (a *Appflow) App(id string) string {
	if app, known := a.config.Apps[id]; known {
		return app
	}
	return id
}
