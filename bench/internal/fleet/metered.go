package fleet

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// metered is memberlist's transport that counts bytes for a fleet: each packet at its sender, and both directions of a
// connection at the node that dialled it.
type metered struct {
	*memberlist.NetTransport

	fleet *restingFleet
}

// WriteTo implements [memberlist.Transport].
func (m *metered) WriteTo(b []byte, address string) (time.Time, error) {
	m.fleet.packets.Add(int64(len(b)))
	return m.NetTransport.WriteTo(b, address)
}

// WriteToAddress implements [memberlist.NodeAwareTransport].
func (m *metered) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return m.WriteTo(b, a.Addr)
}

// DialTimeout implements [memberlist.Transport].
func (m *metered) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	conn, err := m.NetTransport.DialTimeout(address, timeout)
	if err != nil {
		return nil, err
	}
	return &meteredConn{conn, &m.fleet.streams}, nil
}

// DialAddressTimeout implements [memberlist.NodeAwareTransport].
func (m *metered) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return m.DialTimeout(a.Addr, timeout)
}

// meteredConn counts the bytes of a connection.
type meteredConn struct {
	net.Conn

	bytes *atomic.Int64
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}
