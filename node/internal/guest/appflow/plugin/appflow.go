// Package plugin speaks the protocol by which Ionic Appflow's plugins ask for live updates: cordova-plugin-ionic, and
// @capacitor/live-updates, the SDK of Capacitor apps and Portals. It turns what a device says into a [channel.Device],
// lets [channel.Resolve] decide, and turns the decision back into what the plugin understands. It holds no rule about
// who gets what, opens no socket and keeps no state but what it found out about bundles.
//
// The life of one update: a device posts what it runs to check-device, and [Appflow.Check] answers with a snapshot and
// a URL. Behind the URL is a redirect ([Appflow.Location]) to the list of the release's files: made by [WriteManifest]
// for the Cordova plugin, the publisher's own signed one for the SDK, or a zip for versions that know nothing else. The
// plugin compares the list with the one inside its native app, copies the native app's files and fetches what differs.
//
// The invariant: a device gets the files of one release or an answer that says no, never an answer that would leave it
// with files of two. So whatever a plugin could not fetch under its name, and whatever list does not fit the files
// beside it, is refused when the device asks, not when half of the files are there.
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

// Edge is what this room needs of a node. All methods may be called at the same time and are idempotent; what they
// return belongs to the node and must not be changed.
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

// Config says how the protocol is spoken.
type Config struct {
	// Apps are apps by the ID that they have in Appflow. An ID that is not in it is taken for the name of an app, so that
	// devices may also ask for com.acme.shop by its name.
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
		return errors.New("appflow: no edge given")
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

// New returns what answers devices. Nothing has to be closed.
func New(config Config) (*Appflow, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return &Appflow{config: config, judged: map[digest.Digest]verdict{}}, nil
}

// App returns the app that an ID stands for. Whether there is one of that name is another question.
func (a *Appflow) App(id string) string {
	if app, known := a.config.Apps[id]; known {
		return app
	}
	return id
}
