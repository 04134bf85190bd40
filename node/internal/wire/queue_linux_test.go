package wire

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func option(t *testing.T, c net.Conn, level, name int) int {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	value := 0
	if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); cerr != nil {
		t.Fatal(cerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestListener_SetsBufferSizes(t *testing.T) {
	server, _ := connect(t, listen(t, Config{SendBuffer: 64 << 10, Unsent: 100_000}))
	// The kernel doubles what is asked for, to have room for its own (socket(7)).
	if got := option(t, server.under, unix.SOL_SOCKET, unix.SO_SNDBUF); got != 2*64<<10 {
		t.Errorf("send buffer is %d", got)
	}
	if got := option(t, server.under, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); got != 100_000 {
		t.Errorf("unsent is %d", got)
	}
}

func TestSendQueue_CountsBytesInFlight(t *testing.T) {
	// The kernel takes all at once, and the client's side of the connection has room for a part of it only.
	server, client := connect(t, listen(t, Config{SendBuffer: 200 << 10}))
	if err := client.SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	queue := sendQueue(server.under)
	if n := queue(); n != 0 {
		t.Errorf("%d bytes are on their way before any was sent", n)
	}
	const size = 150_000
	send(t, server, size)
	if n := queue(); n <= 0 || n > size {
		t.Errorf("%d bytes are on their way to a client that does not read", n)
	}
	receive(t, client, size)
	// A byte from the client acknowledges all that it has read.
	send(t, client, 1)
	receive(t, server, 1)
	if n := queue(); n != 0 {
		t.Errorf("%d bytes are on their way after the client has acknowledged all", n)
	}
	server.Close()
	if n := queue(); n != 0 {
		t.Errorf("%d bytes are on their way in a closed connection", n)
	}
}
