// Package gossiptest is a network in memory for tests and benches of package gossip: it loses packets, delays them, is
// cut in parts, and counts what it carries.
//
// The life of one packet: a [Transport] that memberlist writes to hands it to the [Network], which looks up who has the
// address, throws its dice, and puts it in that transport's queue, at once or later. A connection is a pipe between two
// transports; it breaks when the two are cut off from each other. The invariant: what is written never blocks on the
// one who should read, as on a real network, so a node that hangs hangs alone.
package gossiptest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// queued is how many packets wait for one node before the next ones are lost, as in a socket's buffer.
const queued = 4096

// errUnreachable is returned when a connection cannot be made, or breaks.
var errUnreachable = errors.New("gossiptest: unreachable")

// Network connects transports. Use [New]. All methods are safe for concurrent use.
type Network struct {
	packets, packetBytes, streams, streamBytes atomic.Int64

	mu    sync.Mutex
	nodes map[string]*Transport // by address
	side  map[string]int        // by address; those on different sides do not reach each other
	loss  float64
	delay time.Duration
}

// New returns a network that loses nothing and delays nothing.
func New() *Network {
	return &Network{nodes: map[string]*Transport{}, side: map[string]int{}}
}

// SetLoss has a share of packets, 0 to 1, be lost. Connections, whose packets are sent again, are not affected.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// SetDelay has packets arrive after half of d to one and a half of it, and connections be made after d.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Cut puts each of the addresses on the side that is given; those that are not named are on side 0. Nodes on different
// sides do not reach each other. Nil heals all.
func (n *Network) Cut(side map[netip.AddrPort]int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.side)
	for address, s := range side {
		n.side[address.String()] = s
	}
}

// Traffic is what a network has carried since it was made. What was lost counts too: it was sent.
type Traffic struct {
	Packets, PacketBytes int64
	Streams, StreamBytes int64
}

// Traffic returns what has been carried.
func (n *Network) Traffic() Traffic {
	return Traffic{n.packets.Load(), n.packetBytes.Load(), n.streams.Load(), n.streamBytes.Load()}
}

// reach returns the transport at an address, if from reaches it, and how long that takes.
func (n *Network) reach(from, to string) (*Transport, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.nodes[to]
	if t == nil || n.side[from] != n.side[to] {
		return nil, 0
	}
	return t, n.delay
}

func (n *Network) loses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.loss > 0 && rand.Float64() < n.loss
}

// Transport is one node's end of a Network. A node that comes back takes a new one, which may have the same address.
type Transport struct {
	network *Network
	address netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Transport returns the transport at an address. It removes the previous one from the network.
func (n *Network) Transport(address netip.AddrPort) *Transport {
	t := &Transport{
		network: n,
		address: address,
		packets: make(chan *memberlist.Packet, queued),
		streams: make(chan net.Conn),
		done:    make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[address.String()] = t
	return t
}

// Shutdown implements [memberlist.Transport]. It may be called before, too: then the node is off the network as if it
// had crashed.
func (t *Transport) Shutdown() error {
	t.once.Do(func() {
		close(t.done)
		t.network.mu.Lock()
		defer t.network.mu.Unlock()
		if t.network.nodes[t.address.String()] == t {
			delete(t.network.nodes, t.address.String())
		}
	})
	return nil
}

// FinalAdvertiseAddr implements [memberlist.Transport].
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.address.Addr().AsSlice(), int(t.address.Port()), nil
}

// PacketCh implements [memberlist.Transport].
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements [memberlist.Transport].
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// WriteToAddress implements [memberlist.NodeAwareTransport].
func (t *Transport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, to.Addr)
}

// WriteTo implements [memberlist.Transport].
func (t *Transport) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	select {
	case <-t.done:
		return now, nil // nobody is at the other end of the wire
	default:
	}
	t.network.packets.Add(1)
	t.network.packetBytes.Add(int64(len(b)))
	dest, delay := t.network.reach(t.address.String(), to)
	if dest == nil || t.network.loses() {
		return now, nil
	}
	p := &memberlist.Packet{Buf: bytes.Clone(b), From: net.UDPAddrFromAddrPort(t.address)}
	deliver := func() {
		p.Timestamp = time.Now()
		select {
		case dest.packets <- p:
		default:
		}
	}
	if delay == 0 {
		deliver()
	} else {
		time.AfterFunc(delay/2+rand.N(delay), deliver)
	}
	return now, nil
}

// DialAddressTimeout implements [memberlist.NodeAwareTransport].
func (t *Transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(to.Addr, timeout)
}

// DialTimeout implements [memberlist.Transport].
func (t *Transport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	dest, delay := t.network.reach(t.address.String(), to)
	late := time.NewTimer(timeout)
	defer late.Stop()
	if dest == nil {
		select {
		case <-t.done:
		case <-late.C: // as with a machine that is switched off
		}
		return nil, fmt.Errorf("%w: %s", errUnreachable, to)
	}
	arrived := time.NewTimer(delay)
	defer arrived.Stop()
	select {
	case <-t.done:
		return nil, errUnreachable
	case <-late.C:
		return nil, fmt.Errorf("%w: %s", errUnreachable, to)
	case <-arrived.C:
	}
	near, far := net.Pipe()
	ours := &conn{Conn: near, network: t.network, local: t.address.String(), remote: to}
	theirs := &conn{Conn: far, network: t.network, local: to, remote: t.address.String()}
	select {
	case dest.streams <- theirs:
		t.network.streams.Add(1)
		return ours, near.SetDeadline(time.Now().Add(timeout))
	case <-dest.done:
	case <-t.done:
	case <-late.C:
	}
	return nil, errors.Join(fmt.Errorf("%w: %s", errUnreachable, to), near.Close(), far.Close())
}

// conn is one end of a connection.
type conn struct {
	net.Conn
	network       *Network
	local, remote string
}

// Write breaks the connection if the other side is cut off.
func (c *conn) Write(b []byte) (int, error) {
	if dest, _ := c.network.reach(c.local, c.remote); dest == nil {
		return 0, errors.Join(errUnreachable, c.Close())
	}
	c.network.streamBytes.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return address(c.local) }

// RemoteAddr implements [net.Conn].
func (c *conn) RemoteAddr() net.Addr { return address(c.remote) }

func address(text string) net.Addr {
	parsed, err := netip.ParseAddrPort(text)
	if err != nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(parsed)
}
