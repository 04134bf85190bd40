// Package fleet connects a node with the other nodes of its fleet: it knows the members, sends and answers requests
// between nodes, and fetches what other nodes announce.
//
// The life of one announcement: another node has a newer manifest. Package gossip receives its pointer, and calls this
// package until the node has announced the same or a higher one. This package fetches the manifest from the other node
// by a signed request, and package force brings it into force like any other, and fetches its bundles. Requests between
// nodes name their receiver, and they and their answers are signed with the fleet key; a request that has an effect is
// accepted only once.
//
// The invariant: content from another node is trusted only if its publisher has signed it, or if it has the digest that
// was signed. The fleet key allows requests; it does not allow changing what is in force.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/background"
	"brink/node/internal/force"
	"brink/origin"
	"brink/origin/sign"
	"brink/protocol"
)

// Options say which fleet a node belongs to. The zero value is a node without a fleet.
type Options struct {
	Name      string         // of the fleet: a label on all messages between its nodes; empty: no fleet
	Node      string         // the node's own name, unique in the fleet; default: the name of the host
	Region    string         // where the node is; nodes ask others of their region first
	URL       string         // of the node, for the others; default: built from Advertise or Bind, and Listen
	Bind      string         // see gossip.Config
	Advertise string         // see gossip.Config
	Join      []string       // see gossip.Config
	Allow     []netip.Prefix // see gossip.Config
	KeyFile   string         // see gossip.ReadKeys; or Keys. It is written when the fleet's key is rotated
	Keys      [][]byte       // instead of KeyFile; then the key of this node cannot be rotated

	Pace      gossip.Pace          // for tests
	Transport memberlist.Transport // for tests
}

// WithDefaults returns the options with defaults filled in.
func (f Options) WithDefaults() Options {
	if f.Name != "" && f.Node == "" {
		f.Node, _ = os.Hostname() // Validate reports it if it is missing
	}
	return f
}

// Validate reports what is wrong with the options.
func (f Options) Validate() error {
	if f.Name == "" {
		if len(f.Join) > 0 || f.Bind != "" || f.KeyFile != "" {
			return errors.New("the fleet has no name: set the same one on all of its nodes")
		}
		return nil
	}
	if f.KeyFile == "" && len(f.Keys) == 0 {
		return errors.New("the fleet has no key: create one with \"brink fleet key new\"")
	}
	if f.WithDefaults().Node == "" {
		return errors.New("the node has no name, and the host has none that it could use")
	}
	if f.URL != "" {
		if _, err := protocol.NodeURL(f.URL); err != nil {
			return fmt.Errorf("URL of the node: %w: want one such as https://10.0.0.7:8080", err)
		}
	}
	return nil
}

// Config is what a [Fleet] works with. All fields are required unless they say otherwise.
type Config struct {
	Options

	Context context.Context   // of all work in the background
	Work    *background.Group // runs it
	Data    string            // folder in which known peers are stored
	Version string            // of the program, shown to the others
	Door    *force.Door

	// Status returns the status of this node.
	Status func() protocol.NodeStatus
	// Drain drains this node, or ends that.
	Drain func(drain bool)
	// Journal reads the journal of a node up to the pointer from a member. It may wait for other nodes, until ctx ends.
	Journal func(ctx context.Context, from gossip.Member, p gossip.Pointer) error

	Logger *slog.Logger
	Now    func() time.Time
}

// Fleet connects a node with the other nodes of its fleet. Use [New], then [Fleet.Run] once.
type Fleet struct {
	Config

	*membership
	*client

	keys   keyring
	once   sign.Once // requests that had an effect
	since  time.Time // the start of this node
	faults atomic.Int64

	replications replications

	mu      sync.Mutex
	drained time.Time                       // the time of the last request to drain, or to end that
	hints   map[digest.Digest]gossip.Member // members that have bundles which are being fetched
}

// New opens the sockets of gossip. It sends nothing yet.
func New(config Config) (*Fleet, error) {
	f := &Fleet{
		Config:     config,
		membership: &membership{name: config.Node, region: config.Region, url: config.URL, next: make(chan struct{})},
		client:     &client{http: origin.NewClient(), now: config.Now},
		keys:       keyring{file: config.KeyFile, keys: config.Keys},
		since:      config.Now(),
		hints:      map[digest.Digest]gossip.Member{},
	}
	f.drained = f.since
	var err error
	if config.KeyFile != "" {
		raw, err := os.ReadFile(config.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("fleet key: %w", err)
		}
		if f.keys.keys, err = gossip.ReadKeys(raw); err != nil {
			return nil, fmt.Errorf("fleet key %s: %w", config.KeyFile, err)
		}
	}
	if f.ring, err = sign.NewRing(config.Name, f.keys.keys...); err != nil {
		return nil, err
	}
	f.gossip, err = gossip.New(gossip.Config{
		Name:      config.Node,
		Region:    config.Region,
		URL:       config.URL,
		Version:   config.Version,
		Fleet:     config.Name,
		Bind:      config.Bind,
		Advertise: config.Advertise,
		Join:      config.Join,
		Allow:     config.Allow,
		Keys:      f.keys.keys,
		Peers:     filepath.Join(config.Data, "peers"),
		Fetch:     f.fetchAnnounced,
		Changed:   f.changed,
		Logger:    config.Logger,
		Pace:      config.Pace,
		Transport: config.Transport,
	})
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return f, nil
}

// Run gossips until ctx ends, and then leaves the fleet.
func (f *Fleet) Run(ctx context.Context) error { return f.gossip.Run(ctx) }

// Close ends gossip, and closes connections that are idle.
func (f *Fleet) Close() error {
	f.http.CloseIdleConnections()
	return f.gossip.Close()
}

// Stats returns the figures of gossip.
func (f *Fleet) Stats() gossip.Stats { return f.gossip.Stats() }

// Faults returns how many announcements of other nodes could not be applied.
func (f *Fleet) Faults() int64 { return f.faults.Load() }

// Address returns the address at which this node gossips, which other nodes can join.
func (f *Fleet) Address() string { return f.gossip.Self().Address }

// Announce announces a pointer to the fleet.
func (f *Fleet) Announce(p gossip.Pointer) { f.gossip.Announce(p) }

// Held returns the highest pointer of a kind and name that this node has announced.
func (f *Fleet) Held(kind gossip.Kind, name string) (gossip.Pointer, bool) {
	return f.gossip.Held(kind, name)
}

// SetState announces the state of this node.
func (f *Fleet) SetState(state gossip.State) { f.gossip.SetState(state) }

// GuessURL returns the URL at which others probably reach a node: the host at which it gossips, and the port at which
// it listens.
func (f Options) GuessURL(scheme, address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	for _, own := range []string{f.Advertise, f.Bind} {
		other, _, err := net.SplitHostPort(own)
		if ip, unknown := netip.ParseAddr(other); err == nil && unknown == nil && !ip.IsUnspecified() {
			if listening, err := netip.ParseAddr(host); err == nil && listening.IsUnspecified() {
				host = other
			}
			break
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// AnnounceManifest implements [force.Announcer].
func (f *Fleet) AnnounceManifest(m *channel.Manifest) { f.gossip.Announce(pointerOf(m)) }

func pointerOf(m *channel.Manifest) gossip.Pointer {
	return gossip.Pointer{
		Kind:     gossip.Manifest,
		Name:     m.App + "/" + m.Channel,
		Sequence: m.Order(),
		Digest:   m.Statement(),
	}
}

// AnnounceTrust implements [force.Announcer].
func (f *Fleet) AnnounceTrust(trust *channel.Trust) {
	f.gossip.Announce(gossip.Pointer{
		Kind:     gossip.Trust,
		Name:     trust.Org(),
		Sequence: trust.Version(),
		Digest:   trust.Digest(),
	})
}

// recordDrain records the time of a request to drain, or to end that, and reports whether none was later.
func (f *Fleet) recordDrain(when time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if when.Before(f.drained) {
		return false
	}
	f.drained = when
	return true
}
