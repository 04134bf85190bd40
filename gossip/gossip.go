// Package gossip keeps the fleet's membership and spreads what nodes hold: pointers to channel manifests, trust
// documents and journals, never their content.
//
// The life of one pointer: a node that has made a manifest durable calls [Gossip.Announce]. That enters the pointer in
// the node's table, and a message of some 100 bytes goes out with the packets that memberlist sends anyway. A node
// that hears of a pointer higher than its own passes the message on, once, and has Config.Learned called with the
// member that holds it. The consumer pulls the content from that member, checks it, and announces it in turn. What was
// lost on the way is found by exchanges: every now and then two members compare 256 sums over their tables, whose size
// is the same for ten pointers and for a million, and send each other what the other one lacks.
//
// The invariants: a pointer never replaces a higher one; clocks have no say. Membership grants nothing, a pointer only
// says where to look. The functions that memberlist calls never block: they copy into queues that are bounded, what
// does not fit is dropped and counted, and a later exchange repairs it. The fleet is never needed: alone, a node works
// on.
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

// learners is how many calls of Config.Learned run at once. Each is a small request over HTTP, as a rule; a few hide
// the wait for a member that does not answer.
const learners = 4

// couriers is how many exchanges are answered at once, so that one hung member does not hold up the others.
const couriers = 2

// Gossip is this node among the others. Use [New], then [Gossip.Run] once, or [Gossip.Close] if it is not to run after
// all. All methods are safe for concurrent use.
type Gossip struct {
	config  Config
	self    Member // but for State
	state   atomic.Uint32
	members roster
	table   table
	wants   *wants
	mail    *mail
	queue   memberlist.TransmitLimitedQueue // of broadcasts
	keyring *memberlist.Keyring
	labels  *labels
	list    *memberlist.Memberlist
	stop    context.CancelFunc // ends what transport dials
	count   counters

	rekeying sync.Mutex // one at a time
	stated   chan struct{}
	running  atomic.Bool
	closing  sync.Once
	closed   error
}

// New listens, but asks nobody yet. Announce what is held before [Gossip.Run]: it is then told in exchanges, and a
// restart makes no noise.
func New(config Config) (*Gossip, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	config = config.withDefaults()
	g := &Gossip{
		config: config,
		self:   Member{Name: config.Name, Region: config.Region, URL: config.URL, Version: config.Version},
		stated: make(chan struct{}, 1),
		mail:   newMail(),
	}
	g.members.init(config.Name)
	g.wants = newWants(g.better, g.members.find, config.Region)
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

// better reports whether p is higher than what this node holds.
func (g *Gossip) better(p Pointer) bool {
	held, ok := g.table.get(p.key())
	return !ok || p.Compare(held) > 0
}

// retransmit times the digits of the number of members is how often a node passes on one broadcast.
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
		abandon(c.Transport)
		return err
	}
	if g.list.NumMembers() == 0 { // memberlist has refused this node itself
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
	// What is sent is small and, when it is not, made of digests: neither gets smaller.
	c.EnableCompression = false
	c.Transport = g.config.Transport
	c.Logger = slog.NewLogLogger(g.lines(), slog.LevelError) // the level is in the text
	d := (*delegate)(g)
	c.Delegate, c.Events, c.Alive, c.Conflict = d, d, d, d
	return c, nil
}

// Run joins the fleet and works until ctx is done; then it tells the others that this node leaves, waits for that as
// long as Pace.Leave, and closes. It returns when all that it started has ended. What memberlist started ends at about
// the same time: it offers nothing to wait for.
func (g *Gossip) Run(ctx context.Context) error {
	if g.running.Swap(true) {
		return errors.New("gossip: it runs already, or has run")
	}
	b, err := openBook(g.config.Peers, netip.MustParseAddrPort(g.self.Address))
	if err != nil {
		g.config.Logger.Warn("last known members could not be read", "file", g.config.Peers, "error", err)
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() { g.clerk(work) })
	wait.Go(func() { g.herald(work) })
	wait.Go(func() { g.usher(work, b) })
	for range couriers {
		wait.Go(func() { g.courier(work) })
	}
	for range learners {
		wait.Go(func() { g.learner(work) })
	}
	<-ctx.Done()
	g.stop()
	if err := g.list.Leave(g.config.Pace.Leave); err != nil {
		g.config.Logger.Info("left without anybody taking note", "error", err)
	}
	err = g.Close()
	wait.Wait()
	return err
}

// Close ends a Gossip at once, without telling the others. After [Gossip.Run] has returned it does nothing.
func (g *Gossip) Close() error {
	g.closing.Do(func() {
		g.running.Store(true)
		g.stop()
		g.closed = g.list.Shutdown()
	})
	return g.closed
}

// Announce says that this node holds p now and hands it out. The others are told, unless Run has not begun, or p came
// here among many that the others have already. A pointer that is not higher than the one of its name that was
// announced before is left out; one that no node would take is logged.
func (g *Gossip) Announce(p Pointer) {
	if err := p.check(); err != nil {
		g.config.Logger.Error("pointer cannot be announced", "pointer", p.String(), "error", err)
		return
	}
	if !g.table.put(p) {
		return
	}
	quiet := g.wants.settle(p)
	if g.running.Load() && !quiet {
		g.broadcast(p, g.config.Name)
	}
}

// Held returns the highest pointer that was announced here.
func (g *Gossip) Held(kind Kind, name string) (Pointer, bool) { return g.table.get(key{kind, name}) }

// Self returns this node as the others see it.
func (g *Gossip) Self() Member {
	m := g.self
	m.State = State(g.state.Load())
	return m
}

// Members returns all that are not known to have left or crashed, this node included, ordered by name.
func (g *Gossip) Members() []Member { return g.members.all(g.Self()) }

// SetState tells the others what this node is doing; it does not wait for them. A node begins as [Starting].
func (g *Gossip) SetState(state State) {
	if State(g.state.Swap(uint32(state))) != state {
		wake(g.stated)
	}
}

// wake has the one who waits for c look again. c has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
