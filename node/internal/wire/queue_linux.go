package wire

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendQueue returns a function that returns how many bytes of c the kernel has accepted and the peer has not
// acknowledged (SIOCOUTQ, tcp(7)). It returns 0 if c is not TCP or is closed.
func sendQueue(c net.Conn) func() int64 {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return func() int64 { return 0 }
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return func() int64 { return 0 }
	}
	return func() int64 {
		queued := 0
		_ = raw.Control(func(fd uintptr) {
			if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
				queued = n
			}
		})
		return int64(queued)
	}
}

// limitUnsent sets TCP_NOTSENT_LOWAT (tcp(7)).
func limitUnsent(c *net.TCPConn, bytes int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
	return errors.Join(err, setErr)
}
