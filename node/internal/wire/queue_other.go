//go:build !linux

package wire

import "net"

// sendQueue has no way to ask here: what the kernel has taken counts as moved, so a stall is seen late by as long as
// the send buffer lasts, and a full buffer that drains slowly may pass for one.
func sendQueue(net.Conn) func() int64 { return func() int64 { return 0 } }

// limitUnsent does nothing here.
func limitUnsent(*net.TCPConn, int) error { return nil }
