package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/origin/sign"
)

// Fleet says which nodes a node belongs to. The zero value is a node that stands alone.
type Fleet struct {
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

	pace      gossip.Pace          // for tests
	transport memberlist.Transport // for tests
}

// validate fills in defaults.
func (f *Fleet) validate() error {
	if f.Name == "" {
		if len(f.Join) > 0 || f.Bind != "" || f.KeyFile != "" {
			return errors.New("the fleet has no name: give all of its nodes the same one")
		}
		return nil
	}
	if f.KeyFile == "" && len(f.Keys) == 0 {
		return errors.New("the fleet has no key: make one with \"brink fleet key new\"")
	}
	if f.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("the node has no name, and the host tells none: %w", err)
		}
		f.Node = host
	}
	if f.URL != "" {
		if u, err := url.Parse(f.URL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("URL of the node %q: want one such as https://10.0.0.7:8080", f.URL)
		}
	}
	return nil
}

// fleet is the node among others. It is nil for one that stands alone.
type fleet struct {
	node   *Node
	config Fleet
	gossip *gossip.Gossip
	ring   *sign.Ring

	rekeying sync.Mutex // one change of keys after the other
	keys     [][]byte   // the primary first; guarded by rekeying

	once  sign.Once // requests that had an effect
	since time.Time // when this node was started

	mu      sync.Mutex
	drained time.Time                       // when the last drain, or its end, was asked for
	hints   map[digest.Digest]gossip.Member // who holds a bundle that is being brought in
	next    chan struct{}                   // closed when members came, went or changed; then there is another one
}

// newFleet opens the sockets of gossip, and asks nobody yet.
func newFleet(n *Node) (*fleet, error) {
	config := n.config.Fleet
	if config.Name == "" {
		return nil, nil //nolint:nilnil // a node alone has no fleet
	}
	f := &fleet{
		node: n, config: config, keys: config.Keys,
		hints: map[digest.Digest]gossip.Member{}, next: make(chan struct{}),
	}
	f.since = n.config.Now()
	f.drained = f.since
	var err error
	if config.KeyFile != "" {
		raw, err := os.ReadFile(config.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("fleet key: %w", err)
		}
		if f.keys, err = gossip.ReadKeys(raw); err != nil {
			return nil, fmt.Errorf("fleet key %s: %w", config.KeyFile, err)
		}
	}
	if f.ring, err = sign.NewRing(config.Name, f.keys...); err != nil {
		return nil, err
	}
	if f.config.URL == "" {
		f.config.URL = n.guessURL()
	}
	f.gossip, err = gossip.New(gossip.Config{
		Name:      config.Node,
		Region:    config.Region,
		URL:       f.config.URL,
		Version:   n.config.Version,
		Fleet:     config.Name,
		Bind:      config.Bind,
		Advertise: config.Advertise,
		Join:      config.Join,
		Allow:     config.Allow,
		Keys:      f.keys,
		Peers:     filepath.Join(n.config.Data, "peers"),
		Learned:   n.learned,
		Changed:   f.changed,
		Logger:    n.config.Logger,
		Pace:      config.pace,
		Transport: config.transport,
	})
	if err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return f, nil
}

// guessURL is where others reach the node, as far as it can tell: the address that it gossips at, and the port that it
// listens on.
func (n *Node) guessURL() string {
	scheme := "http"
	if n.tls != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(n.Addr())
	if err != nil {
		return ""
	}
	for _, address := range []string{n.config.Fleet.Advertise, n.config.Fleet.Bind} {
		other, _, err := net.SplitHostPort(address)
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

// announce tells the fleet that a manifest is in force here.
func (n *Node) announce(m *channel.Manifest) {
	if n.fleet != nil {
		n.fleet.gossip.Announce(pointerOf(m))
	}
}

func pointerOf(m *channel.Manifest) gossip.Pointer {
	return gossip.Pointer{
		Kind:     gossip.Manifest,
		Name:     m.App + "/" + m.Channel,
		Sequence: m.Order(),
		Digest:   m.Statement(),
	}
}

// announceTrust tells the fleet that a trust document is in force here.
func (n *Node) announceTrust(trust *channel.Trust) {
	if n.fleet != nil {
		n.fleet.gossip.Announce(gossip.Pointer{
			Kind:     gossip.Trust,
			Name:     trust.Org(),
			Sequence: trust.Version(),
			Digest:   trust.Digest(),
		})
	}
}

// announceAll tells what the node holds when it starts.
func (n *Node) announceAll() {
	for _, trust := range n.channels.trusts.all() {
		n.announceTrust(trust)
	}
	n.channels.each(n.announce)
	if n.fleet != nil {
		n.announceJournals()
		n.choices.changed = n.chose
	}
}

// run gossips until ctx ends, and tells the others then.
func (f *fleet) run(ctx context.Context) error { return f.gossip.Run(ctx) }

// drainedAt notes when a drain, or its end, was asked for, and reports whether no later one was.
func (f *fleet) drainedAt(when time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if when.Before(f.drained) {
		return false
	}
	f.drained = when
	return true
}

// changed is called by package gossip when members came, went or changed.
func (f *fleet) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.next)
	f.next = make(chan struct{})
}

// change returns what is closed at the next change of members. Whoever waits for one looks at them after the call.
func (f *fleet) change() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// starting reports whether there is a member that does not serve yet, as far as this node has heard.
func (f *fleet) starting() bool {
	return slices.ContainsFunc(f.gossip.Members(), func(m gossip.Member) bool {
		return m.Name != f.config.Node && m.State == gossip.Starting
	})
}

// others returns the members that serve, this node not among them.
func (f *fleet) others() []gossip.Member {
	members := f.gossip.Members()
	list := members[:0]
	for _, m := range members {
		if m.Name != f.config.Node && m.URL != "" && m.State != gossip.Starting {
			list = append(list, m)
		}
	}
	return list
}

// member returns the member of the name that serves.
func (f *fleet) member(name string) (gossip.Member, bool) {
	for _, m := range f.others() {
		if m.Name == name {
			return m, true
		}
	}
	return gossip.Member{}, false
}
