package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is where nodes gossip, over TCP and UDP. It is memberlist's, so that firewalls may know it.
const DefaultPort = 7946

// Config says who this node is and whom it gossips with. The zero value of a field means its default unless it says
// otherwise.
type Config struct {
	// Name is the node's, unique in the fleet, and the same after a restart; required. See [MaxName].
	Name string
	// Region, URL and Version are told to the others; see [Member].
	Region, URL, Version string
	// Fleet is a label on all that is sent, under the encryption. A node takes nothing that has another, so two fleets do
	// not grow together when addresses are used again; required. See [MaxFleet].
	Fleet string
	// Bind is "ip:port" to listen at, TCP and UDP; default: all addresses and DefaultPort. Port 0 means any.
	Bind string
	// Advertise is "ip:port" that the others reach this node at; default: Bind, or a private address of this machine if
	// Bind is all addresses.
	Advertise string
	// Join are "host" or "host:port" of nodes of the fleet; a host may have many addresses. They are asked again, for
	// ever, while they are not members. None: this node waits for others, and for those in Peers.
	Join []string
	// Keys encrypt all that is sent: the first one does, each of them decrypts. At least one; see [ReadKeys].
	Keys [][]byte
	// Allow lists the networks that members may have addresses in; none: all.
	Allow []netip.Prefix
	// Peers is a file for the addresses of the last known members, so that the fleet is found again after a restart when
	// nothing in Join answers. It need not exist; empty: none.
	Peers string

	// Learned is told that the member from holds p, which is higher than what this node has announced. It is called on a
	// few goroutines of this package, never twice at once for the same kind and name. It may block, but must return soon
	// after ctx is done, which Run waits for. If it takes p it calls Announce. If it does not, it is called with the next
	// member that holds p, then with a lower pointer if there is one, and again after a later exchange. Nil: this node
	// learns nothing.
	Learned func(ctx context.Context, from Member, p Pointer)
	// Changed is called on a goroutine of this package after members came, went or changed; many changes may be one call.
	// It should not block for long.
	Changed func()
	// Logger takes what an operator should know; nil means nowhere.
	Logger *slog.Logger

	// Pace changes what is measured in time.
	Pace Pace
	// Transport and Resolve are for tests; nil means TCP and UDP, and the resolver of the system.
	Transport memberlist.Transport
	Resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Pace is how often a node does what. The defaults are memberlist's for a local network unless a reason is given. They
// hold between regions too: with those for wide networks, 50 nodes need 60 s instead of 9 s to know that one crashed.
type Pace struct {
	Gossip   time.Duration // between packets of news to three random members; default: 200 ms
	Probe    time.Duration // between two probes of a random member, which may take half of it; default: 1 s
	Exchange time.Duration // between exchanges with a random member; grows with the fleet above 32 nodes; default: 30 s
	// Dial bounds one connection. Default: 5 s, half of memberlist's: what does not answer by then is as good as down, and
	// nothing urgent goes over connections.
	Dial time.Duration
	// Leave bounds how long the end waits for the others to be told; default: 5 s.
	Leave time.Duration
	// Reclaim is how long a crashed node's name is kept for its address; then the name may come back at another one.
	// Default: 10 s, what it takes for a crash to be known. A node that left gives its name back at once.
	Reclaim time.Duration
	// Rejoin is the longest wait between attempts to reach known nodes that are not members; the first is a thirtieth of
	// it, each next one twice as long, all are jittered by half. Default: 30 s, at which one packet costs nothing.
	Rejoin time.Duration
}

func (p Pace) withDefaults() Pace {
	p.Gossip = cmp.Or(p.Gossip, 200*time.Millisecond)
	p.Probe = cmp.Or(p.Probe, time.Second)
	p.Exchange = cmp.Or(p.Exchange, 30*time.Second)
	p.Dial = cmp.Or(p.Dial, 5*time.Second)
	p.Leave = cmp.Or(p.Leave, 5*time.Second)
	p.Reclaim = cmp.Or(p.Reclaim, 10*time.Second)
	p.Rejoin = cmp.Or(p.Rejoin, 30*time.Second)
	return p
}

// Validate reports everything that is wrong with the Config.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := []error{
		checkName("node", c.Name),
		checkName("fleet", c.Fleet),
		Member{Region: c.Region, URL: c.URL, Version: c.Version}.checkTexts(),
		checkKeys(c.Keys),
	}
	if _, err := parseAddress(c.Bind, true); err != nil {
		errs = append(errs, fmt.Errorf("bind address: %w", err))
	}
	if c.Advertise != "" {
		if _, err := parseAddress(c.Advertise, false); err != nil {
			errs = append(errs, fmt.Errorf("advertised address: %w", err))
		}
	}
	for _, text := range c.Join {
		if _, _, err := splitHost(text); err != nil {
			errs = append(errs, fmt.Errorf("address to join: %w", err))
		}
	}
	for _, prefix := range c.Allow {
		if !prefix.IsValid() {
			errs = append(errs, errors.New("allowed network is not valid"))
		}
	}
	for _, d := range []time.Duration{
		c.Pace.Gossip, c.Pace.Probe, c.Pace.Exchange, c.Pace.Dial, c.Pace.Leave, c.Pace.Reclaim, c.Pace.Rejoin,
	} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("pace %v is negative", d))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	c.Bind = cmp.Or(c.Bind, ":"+strconv.Itoa(DefaultPort))
	c.Pace = c.Pace.withDefaults()
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return c
}

// parseAddress reads "ip:port". Where listening is meant, no address means all of them, and port 0 any.
func parseAddress(text string, listening bool) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if listening && host == "" {
		host = "0.0.0.0"
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := parsePort(port, listening)
	return netip.AddrPortFrom(address, number), err
}

func parsePort(text string, listening bool) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 && !listening {
		return 0, fmt.Errorf("port %q: want a number up to 65535", text)
	}
	return uint16(port), nil
}

// splitHost reads "host", "host:port", "ip", "[ip]" or "[ip]:port".
func splitHost(text string) (host string, port uint16, err error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.String(), DefaultPort, nil
	}
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		// Without a port, which may be meant, the same text with one is right.
		if host, digits, err = net.SplitHostPort(text + ":" + strconv.Itoa(DefaultPort)); err != nil {
			return "", 0, fmt.Errorf("%q: want host or host:port", text)
		}
	}
	if host == "" {
		return "", 0, fmt.Errorf("%q has no host", text)
	}
	port, err = parsePort(digits, false)
	return host, port, err
}
