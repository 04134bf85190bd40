//go:build !linux

package wire

import "net"

// sendQueue is not supported here: bytes count as moved once the kernel has accepted them. So a stall is detected only
// after the send buffer is full, and a full buffer that drains slowly may be mistaken for a stall.
func sendQueue(net.Conn) func() int64 { return func() int64 { return 0 } }

// limitUnsent does nothing here.
func limitUnsent(*net.TCPConn, int) error { return nil }
