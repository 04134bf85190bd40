// Package gossip tracks the members of a fleet, and spreads pointers to the channel manifests, trust documents and
// journals that they have. It never sends the content.
//
// The life of one pointer: a node that has made a manifest durable calls [Gossip.Announce]. That puts the pointer in
// the node's table, and sends a message of some 100 bytes with the packets that memberlist sends anyway. A node that
// receives a pointer higher than its own forwards the message once, and calls Config.Fetch with the member that has it.
// The consumer fetches the content from that member, checks it, and announces it in turn. Exchanges repair what was
// lost: from time to time two members compare 256 sums over their tables, which have the same size for ten pointers and
// for a million, and send each other the pointers that the other lacks.
//
// The invariants: a pointer never replaces a higher one, and no clock is involved. Membership grants no rights: a
// pointer only says where to fetch from. The functions that memberlist calls never block: they copy messages into
// bounded queues; what does not fit is dropped and counted, and a later exchange repairs it. A node that reaches no
// other works alone.
//
// The package is part of the node and not an API for other modules.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"
)

// fetchers is how many calls of Config.Fetch run at once. Each is usually a small HTTP request; with a few in parallel,
// a member that does not answer does not delay the others.
const fetchers = 4

// senders is how many goroutines send lists and offers, so that one hung member does not delay the others.
const senders = 2

// Gossip is this node as a member of the fleet. Use [New], then either [Gossip.Run] once or [Gossip.Close]. All methods
// are safe for concurrent use.
type Gossip struct {
	config  Config
	self    Member // without State
	state   atomic.Uint32
	members members
	table   pointerTable
	pending *pending
	inbox   inbox
	outbox  chan transfer
	queue   memberlist.TransmitLimitedQueue // of broadcasts
	keyring *memberlist.Keyring
	labels  *labels
	list    *memberlist.Memberlist
	stop    context.CancelFunc // cancels the transport's dialling
	count   counters

	rekeying     sync.Mutex // one at a time
	stateChanged chan struct{}
	running      atomic.Bool
	closing      sync.Once
	closed       error
}

// New starts to listen, but contacts no other node. Pointers that are announced before [Gossip.Run] are sent in
// exchanges and not broadcast, so that a restart causes no traffic.
func New(config Config) (*Gossip, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	config = config.withDefaults()
	g := &Gossip{
		config:       config,
		self:         Member{Name: config.Name, Region: config.Region, URL: config.URL, Version: config.Version},
		stateChanged: make(chan struct{}, 1),
		inbox:        newInbox(),
		outbox:       make(chan transfer, maxTransfers),
	}
	g.members.init(config.Name)
	g.pending = newPending(g.isNewer, g.members.find, config.Region)
	g.queue.RetransmitMult = retransmit
	g.queue.NumNodes = g.members.size
	var err error
	g.labels = newLabels(config.Fleet, config.Keys)
	if g.keyring, err = memberlist.NewKeyring(config.Keys, config.Keys[0]); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	return g, nil
}

// isNewer reports whether p is higher than this node's pointer of the same kind and name.
func (g *Gossip) isNewer(p Pointer) bool {
	own, ok := g.table.get(p.key())
	return !ok || p.Compare(own) > 0
}

// retransmit is a factor: a node sends each broadcast this many times for each decimal digit of the fleet's size.
const retransmit = 4

// open starts memberlist.
func (g *Gossip) open() error {
	c, err := g.memberlistConfig()
	if err != nil {
		return err
	}
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	if c.Transport == nil {
		t, err := listen(ctx, c)
		if err != nil {
			g.stop()
			return err
		}
		c.Transport = t
	}
	c.Transport = g.newGate(c.Transport)
	if g.list, err = memberlist.Create(c); err != nil {
		g.stop()
		shutDown(c.Transport)
		return err
	}
	if g.list.NumMembers() == 0 { // memberlist refused this node
		g.stop()
		return errors.Join(errors.New("this node's own address is in none of the allowed networks"), g.list.Shutdown())
	}
	node := g.list.LocalNode()
	g.self.Address = node.Address()
	return nil
}

func (g *Gossip) memberlistConfig() (*memberlist.Config, error) {
	c := memberlist.DefaultLANConfig()
	c.Name = g.config.Name
	c.Label, c.SkipInboundLabelCheck = g.labels.own, true // the gate checks it
	bind, err := parseAddress(g.config.Bind, true)
	if err != nil {
		return nil, err
	}
	c.BindAddr, c.BindPort = bind.Addr().String(), int(bind.Port())
	c.AdvertisePort = c.BindPort
	if g.config.Advertise != "" {
		advertise, err := parseAddress(g.config.Advertise, false)
		if err != nil {
			return nil, err
		}
		c.AdvertiseAddr, c.AdvertisePort = advertise.Addr().String(), int(advertise.Port())
	}
	for _, prefix := range g.config.Allow {
		prefix = prefix.Masked()
		c.CIDRsAllowed = append(c.CIDRsAllowed, net.IPNet{
			IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		})
	}
	pace := g.config.Pace
	c.GossipInterval, c.PushPullInterval = pace.Gossip, pace.Exchange
	c.ProbeInterval, c.ProbeTimeout = pace.Probe, pace.Probe/2
	c.GossipToTheDeadTime = pace.Exchange
	c.TCPTimeout = pace.Dial
	c.DeadNodeReclaimTime = pace.Reclaim
	c.RetransmitMult = retransmit
	c.Keyring = g.keyring
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	// Messages are small or consist of digests, and neither compresses.
	c.EnableCompression = false
	c.Transport = g.config.Transport
	c.Logger = slog.NewLogLogger(g.newLogHandler(), slog.LevelError) // the level is in the text
	d := (*delegate)(g)
	c.Delegate, c.Events, c.Alive, c.Conflict = d, d, d, d
	return c, nil
}

// Run joins the fleet and works until ctx is done. Then it tells the others that this node leaves, for up to
// Pace.Leave, and closes. It returns when the goroutines that it started have finished. Those that memberlist started
// finish at about the same time: memberlist offers no way to wait for them.
func (g *Gossip) Run(ctx context.Context) error {
	if g.running.Swap(true) {
		return errors.New("gossip: Run was called twice, or after Close")
	}
	b, err := loadAddressBook(g.config.Peers, netip.MustParseAddrPort(g.self.Address))
	if err != nil {
		g.config.Logger.Warn("cannot read the last known members", "file", g.config.Peers, "error", err)
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() { g.receiveLoop(work) })
	wait.Go(func() { g.notifyLoop(work) })
	wait.Go(func() { g.joinLoop(work, b) })
	for range senders {
		wait.Go(func() { g.sendLoop(work) })
	}
	for range fetchers {
		wait.Go(func() { g.fetchLoop(work) })
	}
	<-ctx.Done()
	g.stop()
	if err := g.list.Leave(g.config.Pace.Leave); err != nil {
		g.config.Logger.Info("left the fleet, but could not tell the other nodes", "error", err)
	}
	err = g.Close()
	wait.Wait()
	return err
}

// Close stops g at once, without telling the others. It does nothing after [Gossip.Run] has returned.
func (g *Gossip) Close() error {
	g.closing.Do(func() {
		g.running.Store(true)
		g.stop()
		g.closed = g.list.Shutdown()
	})
	return g.closed
}

// Announce records that this node has what p points at and serves it. It sends p to the others, unless Run was not
// called yet, or p was received among many pointers that the others have already. It ignores a pointer that is not
// higher than the last one announced under its name, and logs an invalid one.
func (g *Gossip) Announce(p Pointer) {
	if err := p.check(); err != nil {
		g.config.Logger.Error("cannot announce a pointer", "pointer", p.String(), "error", err)
		return
	}
	if !g.table.put(p) {
		return
	}
	known := g.pending.recordHeld(p)
	if g.running.Load() && !known {
		g.broadcast(p, g.config.Name)
	}
}

// Held returns the highest pointer of the kind and name that this node has announced.
func (g *Gossip) Held(kind Kind, name string) (Pointer, bool) { return g.table.get(key{kind, name}) }

// Self returns this node as the others see it.
func (g *Gossip) Self() Member {
	m := g.self
	m.State = State(g.state.Load())
	return m
}

// Members returns the nodes that are not known to have left or crashed, this node included, ordered by name.
func (g *Gossip) Members() []Member { return g.members.list(g.Self()) }

// SetState sets the state of this node, and sends it to the others without waiting for them. The first state is
// [Starting].
func (g *Gossip) SetState(state State) {
	if State(g.state.Swap(uint32(state))) != state {
		signal(g.stateChanged)
	}
}

// signal wakes the receiver of c, which has a buffer of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
