package gossip

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// socket is memberlist's transport over TCP and UDP with two changes. A context cancels its dialling, so that a
// shutdown does not wait for a machine that is switched off. And the timeout for dialling also bounds the connection,
// because memberlist sets no deadline when it sends messages of this package.
type socket struct {
	*memberlist.NetTransport
	ctx context.Context
}

func listen(ctx context.Context, c *memberlist.Config) (*socket, error) {
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{c.BindAddr}, BindPort: c.BindPort, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	if c.BindPort == 0 {
		c.BindPort = t.GetAutoBindPort()
		if c.AdvertiseAddr == "" {
			c.AdvertisePort = c.BindPort
		}
	}
	return &socket{t, ctx}, nil
}

// DialTimeout implements [memberlist.Transport].
func (s *socket) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(s.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(timeout))
}

// DialAddressTimeout implements [memberlist.NodeAwareTransport].
func (s *socket) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(a.Addr, timeout)
}

// shutDown closes a transport from which memberlist does not read. It receives and drops packets and streams meanwhile,
// without which Shutdown would block.
func shutDown(t memberlist.Transport) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = t.Shutdown() // the caller returns an earlier error
	}()
	for {
		select {
		case <-t.PacketCh():
		case conn := <-t.StreamCh():
			_ = conn.Close()
		case <-done:
			return
		}
	}
}
