package gossip

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"
)

// Limits of the incoming streams that are open at the same time. Memberlist closes each after Pace.Dial.
const (
	// strangerStreams is the limit for all addresses together that no member has. None of them has proved to have a key,
	// and each may make this node buffer maxStream bytes.
	strangerStreams = 16
	// addressStreams is the limit for one address that no member has.
	addressStreams = 8
	// memberStreams is the limit for each member at an address. Strangers cannot use them up: a TCP connection cannot be
	// opened from a forged address.
	memberStreams = 8
)

// gate filters what a transport passes to memberlist, which reads up to 20 MiB from anybody before it decrypts. It
// accepts packets and streams that come from allowed networks, start with a label of the fleet, and announce no more
// bytes than nodes send; it also limits the number of streams. It adds the label to outgoing packets and streams.
type gate struct {
	memberlist.Transport
	labels *labels
	allow  []netip.Prefix
	known  func(netip.Addr) int // how many members have an address
	report func(address net.Addr, err error)
	count  *atomic.Int64 // packets and streams that were refused

	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	loops   sync.WaitGroup
	closing sync.Once

	mu        sync.Mutex
	open      map[netip.Addr]int // streams
	strangers int                // streams of addresses that no member has
}

var _ memberlist.NodeAwareTransport = (*gate)(nil)

// Reasons for which the gate refuses a packet or a stream.
var (
	errNetwork = errors.New("its address is in none of the allowed networks")
	errCrowded = errors.New("too many streams are open")
	errLabel   = errors.New("it is of another fleet, or was sent without a key of this one")
	errForm    = errors.New("it is not encrypted")
	errLength  = errors.New("its length exceeds what nodes send")
)

// newGate starts the two goroutines of a gate, which Shutdown stops.
func (g *Gossip) newGate(under memberlist.Transport) *gate {
	limit := rate.Sometimes{First: 3, Interval: time.Minute}
	gt := &gate{
		Transport: under, labels: g.labels, allow: g.config.Allow, known: g.members.countAt, count: &g.count.barred,
		report: func(address net.Addr, err error) {
			limit.Do(func() {
				g.config.Logger.Warn("gossip refused", "address", address.String(), "reason", err,
					"refused", g.count.barred.Load())
			})
		},
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{}),
		open: map[netip.Addr]int{},
	}
	gt.loops.Go(gt.packetLoop)
	gt.loops.Go(gt.streamLoop)
	return gt
}

// Shutdown implements [memberlist.Transport]. The loops keep reading from the transport until it has shut down.
func (g *gate) Shutdown() error {
	var err error
	g.closing.Do(func() {
		err = g.Transport.Shutdown()
		close(g.done)
		g.loops.Wait()
	})
	return err
}

// PacketCh implements [memberlist.Transport].
func (g *gate) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements [memberlist.Transport].
func (g *gate) StreamCh() <-chan net.Conn { return g.streams }

// WriteTo implements [memberlist.Transport]. The bytes start with memberlist's label, and may be changed.
func (g *gate) WriteTo(b []byte, address string) (time.Time, error) {
	if err := g.labels.write(b); err != nil {
		return time.Time{}, err
	}
	return g.Transport.WriteTo(b, address)
}

// WriteToAddress implements [memberlist.NodeAwareTransport].
func (g *gate) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, a.Addr)
}

// DialTimeout implements [memberlist.Transport].
func (g *gate) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := g.Transport.DialTimeout(address, timeout)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: conn, gate: g, outgoing: true, release: func() {}}, nil
}

// DialAddressTimeout implements [memberlist.NodeAwareTransport].
func (g *gate) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(a.Addr, timeout)
}

func (g *gate) refuse(address net.Addr, err error) {
	g.count.Add(1)
	g.report(address, err)
}

func (g *gate) packetLoop() {
	for {
		select {
		case <-g.done:
			return
		case p := <-g.Transport.PacketCh():
			rest, err := g.labels.strip(p.Buf)
			if !g.allows(ipOf(p.From)) {
				err = errNetwork
			}
			if err != nil {
				g.refuse(p.From, err)
				continue
			}
			p.Buf = rest
			select {
			case g.packets <- p:
			case <-g.done:
				return
			}
		}
	}
}

func (g *gate) streamLoop() {
	for {
		select {
		case <-g.done:
			return
		case conn := <-g.Transport.StreamCh():
			release, err := g.acquireStream(ipOf(conn.RemoteAddr()))
			if err != nil {
				g.refuse(conn.RemoteAddr(), err)
				_ = conn.Close()
				continue
			}
			s := &stream{Conn: conn, gate: g, release: sync.OnceFunc(release)}
			select {
			case g.streams <- s:
			case <-g.done:
				_ = s.Close()
				return
			}
		}
	}
}

func (g *gate) allows(ip netip.Addr) bool {
	for _, prefix := range g.allow {
		if prefix.Contains(ip) {
			return true
		}
	}
	return len(g.allow) == 0
}

// acquireStream counts a stream from an address until it is released.
func (g *gate) acquireStream(ip netip.Addr) (release func(), err error) {
	if !g.allows(ip) {
		return nil, errNetwork
	}
	members := g.known(ip)
	stranger, limit := 0, members*memberStreams
	if members == 0 {
		stranger, limit = 1, addressStreams
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[ip] >= limit || g.strangers+stranger > strangerStreams && stranger > 0 {
		return nil, errCrowded
	}
	g.open[ip]++
	g.strangers += stranger
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.strangers -= stranger
		if g.open[ip]--; g.open[ip] == 0 {
			delete(g.open, ip)
		}
	}, nil
}

// ipOf returns the address without its port and zone.
func ipOf(address net.Addr) netip.Addr {
	switch a := address.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	if a, err := netip.ParseAddrPort(address.String()); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
