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

// DefaultPort is the port for gossip, over TCP and UDP. It is memberlist's default, which firewalls may know.
const DefaultPort = 7946

// Config configures a [Gossip]. The zero value of a field means its default unless the field says otherwise.
type Config struct {
	// Name is the node's name, unique in the fleet and the same after a restart; required. See [MaxName].
	Name string
	// Region, URL and Version are sent to the other nodes; see [Member].
	Region, URL, Version string
	// Fleet is the name of the fleet; required. See [MaxFleet]. It is part of a label on all messages, and nodes refuse
	// those with another label, so that two fleets do not merge when addresses are reused.
	Fleet string
	// Bind is the "ip:port" to listen on, TCP and UDP; default: all addresses and DefaultPort. Port 0 means any.
	Bind string
	// Advertise is the "ip:port" at which the others reach this node; default: Bind, or a private address of this machine
	// if Bind is all addresses.
	Advertise string
	// Join lists nodes of the fleet as "host" or "host:port"; a host may have many addresses. This node tries them again
	// and again while they are not members. Empty: it waits for others to join, and tries those in Peers.
	Join []string
	// Keys are the keys of the fleet: the first encrypts, all decrypt. At least one; see [ReadKeys].
	Keys [][]byte
	// Allow lists the networks in which members may have addresses; empty: all.
	Allow []netip.Prefix
	// Peers is a file for the addresses of the last known members, by which a restarted node finds the fleet when nothing
	// in Join answers. It need not exist; empty: none.
	Peers string

	// Fetch is called when the member from has p, which is higher than what this node has announced. It should fetch and
	// check what p points at, and then call Announce. If it does not announce p, it is called with the next member that
	// has p, then with a lower pointer if there is one, and again after a later exchange. It is called on a few goroutines
	// of this package, never twice at once for the same kind and name. It may block, but must return soon after ctx is
	// done, for Run waits for it. Nil: this node ignores the pointers of others.
	Fetch func(ctx context.Context, from Member, p Pointer)
	// Changed is called on a goroutine of this package after members joined, left or changed; one call may stand for many
	// changes. It should not block for long.
	Changed func()
	// Logger receives what an operator should know; nil discards it.
	Logger *slog.Logger

	// Pace sets intervals and timeouts.
	Pace Pace
	// Transport and Resolve are for tests; nil means TCP and UDP, and the resolver of the system.
	Transport memberlist.Transport
	Resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Pace has the intervals and timeouts of a node. The defaults are memberlist's for a local network unless a reason is
// given. They suit fleets of several regions too: with memberlist's defaults for wide networks, 50 nodes need 60 s
// instead of 9 s to detect a crash.
type Pace struct {
	Gossip   time.Duration // between packets with broadcasts to three random members; default: 200 ms
	Probe    time.Duration // between two probes of a random member, which may take half of it; default: 1 s
	Exchange time.Duration // between exchanges with a random member; grows with the fleet above 32 nodes; default: 30 s
	// Dial bounds one connection. Default: 5 s, half of memberlist's: a node that has not answered by then is probably
	// down, and nothing urgent uses connections.
	Dial time.Duration
	// Leave bounds how long Run tells the others that this node leaves; default: 5 s.
	Leave time.Duration
	// Reclaim is how long the name of a crashed node is reserved for its address; after that, a node at another address
	// may have it. Default: 10 s, about the time to detect a crash. The name of a node that left is free at once.
	Reclaim time.Duration
	// Rejoin is the longest wait between attempts to reach known nodes that are not members. The first wait is a thirtieth
	// of it, each further one twice as long, all jittered by half. Default: 30 s, at which the cost of one packet is
	// negligible.
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

// Validate returns an error for everything that is wrong with c.
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

// parseAddress parses "ip:port". For listening, an empty address means all addresses, and port 0 any port.
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

// splitHost parses "host", "host:port", "ip", "[ip]" or "[ip]:port".
func splitHost(text string) (host string, port uint16, err error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.String(), DefaultPort, nil
	}
	host, digits, err := net.SplitHostPort(text)
	if err != nil {
		// The text may be right but for the port, which is optional.
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
