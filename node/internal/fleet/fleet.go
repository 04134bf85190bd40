// Package fleet is a node among others: it knows who they are, asks and answers them, and follows what they bring into
// force.
//
// The life of one announcement: another node has a newer manifest. Package gossip brings its pointer and calls until
// the node has announced the same or a higher one; the manifest is pulled from that node by a signed request, and
// enters by the door of package force like any other, which fetches its bundles. Requests between nodes name their
// receiver and are signed by the fleet's key, and so are answers; those that have an effect count once.
//
// The invariant: nothing that another node says is believed that its publisher, or the content's own digest, does not
// vouch for. The fleet's key opens the door to asking, not to what is in force.
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

// Options say which nodes a node belongs to. The zero value is a node that stands alone.
type Options struct {
	Name      string         // of the fleet: a label on all that its nodes tell each other; empty: alone
	Node      string         // the node's own name, unique in the fleet; default: the name of the host
	Region    string         // where the node is; nodes ask others of their region first
	URL       string         // where the others reach the node over HTTP; default: made of Advertise or Bind, and Listen
	Bind      string         // see gossip.Config
	Advertise string         // see gossip.Config
	Join      []string       // see gossip.Config
	Allow     []netip.Prefix // see gossip.Config
	KeyFile   string         // see gossip.ReadKeys; or Keys. It is written when the fleet's key is rotated
	Keys      [][]byte       // in the place of KeyFile; then this node takes part in no rotation

	Pace      gossip.Pace          // for tests
	Transport memberlist.Transport // for tests
}

// WithDefaults returns the options with defaults filled in.
func (f Options) WithDefaults() Options {
	if f.Name != "" && f.Node == "" {
		f.Node, _ = os.Hostname() // Validate reports that there is none
	}
	return f
}

// Validate reports what is wrong with the options.
func (f Options) Validate() error {
	if f.Name == "" {
		if len(f.Join) > 0 || f.Bind != "" || f.KeyFile != "" {
			return errors.New("the fleet has no name: give all of its nodes the same one")
		}
		return nil
	}
	if f.KeyFile == "" && len(f.Keys) == 0 {
		return errors.New("the fleet has no key: make one with \"brink fleet key new\"")
	}
	if f.WithDefaults().Node == "" {
		return errors.New("the node has no name, and neither has its host")
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
	Data    string            // folder in which peers are remembered
	Version string            // of the program, for the others to see
	Door    *force.Door

	// Status says how this node is, and Drain makes it say that it is not ready, or that it is again.
	Status func() protocol.NodeStatus
	Drain  func(drain bool)
	// Journal reads the journal of a node, which has come as far as the pointer, from a member. It may wait for other
	// nodes, until ctx ends.
	Journal func(ctx context.Context, from gossip.Member, p gossip.Pointer) error

	Logger *slog.Logger
	Now    func() time.Time
}

// Fleet is the node among others. Use [New], then [Fleet.Run] once.
type Fleet struct {
	Config

	*membership
	*client

	keys   keyring
	once   sign.Once // requests that had an effect
	since  time.Time // when this node was started
	faults atomic.Int64

	replications replications

	mu      sync.Mutex
	drained time.Time                       // when the last drain, or its end, was asked for
	hints   map[digest.Digest]gossip.Member // which member has a bundle that is being fetched
}

// New opens the sockets of gossip, and asks nobody yet.
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
		Learned:   f.learned,
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

// Run gossips until ctx ends, and tells the others then.
func (f *Fleet) Run(ctx context.Context) error { return f.gossip.Run(ctx) }

// Close ends gossip, and closes connections that are idle.
func (f *Fleet) Close() error {
	f.http.CloseIdleConnections()
	return f.gossip.Close()
}

// Stats returns the figures of gossip, and Faults how many things other nodes have that could not be followed.
func (f *Fleet) Stats() gossip.Stats { return f.gossip.Stats() }

// Faults is described at [Fleet.Stats].
func (f *Fleet) Faults() int64 { return f.faults.Load() }

// Address returns where this node gossips: what others can be told to join.
func (f *Fleet) Address() string { return f.gossip.Self().Address }

// Announce tells the fleet what is in force here.
func (f *Fleet) Announce(p gossip.Pointer) { f.gossip.Announce(p) }

// Held returns the highest pointer of a kind and name that this node has announced.
func (f *Fleet) Held(kind gossip.Kind, name string) (gossip.Pointer, bool) {
	return f.gossip.Held(kind, name)
}

// SetState tells the fleet what this node is doing.
func (f *Fleet) SetState(state gossip.State) { f.gossip.SetState(state) }

// GuessURL returns where others reach a node, as far as it can tell: the address that it gossips at, and the port of
// the address that it listens on.
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

// drainedAt notes when a drain, or its end, was asked for, and reports whether no later one was.
func (f *Fleet) drainedAt(when time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if when.Before(f.drained) {
		return false
	}
	f.drained = when
	return true
}
