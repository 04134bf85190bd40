package gossip

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// socket is memberlist's transport over TCP and UDP, but that its dialling ends with a context, as an end must not wait
// for a machine that is switched off; and that connections end after the time for dialling, which memberlist sets no
// bound for when it sends a message of ours.
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

// abandon closes a transport that memberlist did not begin to read from: it waits for whoever wants to hand over what
// has come in meanwhile.
func abandon(t memberlist.Transport) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = t.Shutdown() // there is an error already, the one that led here
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
