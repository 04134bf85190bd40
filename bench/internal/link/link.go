// Package link joins two network namespaces by a link with a delay, a rate and a loss.
//
// The life of one call: [Link.Open] makes the namespaces and the link between them; [Within] and [Run] do something in
// one of them, servers in one and devices in the other; [Namespaces.Close] removes all of it.
//
// The invariant: nothing of the network of this machine is changed, and each namespace reaches only the other one.
package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a link between two network namespaces. Its ends are TUN devices, so that real TCP stacks use it; this program
// carries the packets.
type Link struct {
	RTT  time.Duration
	Rate float64 // bits per second, each way
	Loss float64 // share of packets, each way
	// Window is the server's initial congestion window in packets, set as initcwnd of its route; 0: the kernel's
	// default, which is 10.
	Window int
	// Congestion is the server's congestion control; empty: the kernel's default.
	Congestion string
}

func (l Link) String() string {
	text := fmt.Sprintf("%d ms, %.0f Mbit/s", l.RTT.Milliseconds(), l.Rate/1e6)
	if l.Loss > 0 {
		text += fmt.Sprintf(", %.0f %% loss", l.Loss*100)
	}
	if l.Window > 0 {
		text += fmt.Sprintf(", initial window %d", l.Window)
	}
	if l.Congestion != "" {
		text += ", " + l.Congestion
	}
	return text
}

// Possible reports whether the kernel has the link's congestion control.
func (l Link) Possible() bool {
	raw, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	return l.Congestion == "" || err == nil && slices.Contains(strings.Fields(string(raw)), l.Congestion)
}

// Floor returns in milliseconds the least time that any device needs over the link: a handshake, a round trip for each
// request, and the bytes at the rate of the link.
func (l Link) Floor(requests int, bytes int64) float64 {
	return float64((1+requests)*int(l.RTT.Microseconds()))/1000 + float64(bytes)*8/l.Rate*1000
}

// MaxQueue is how long a packet may wait at the slow end before it is dropped, as in a home router.
const MaxQueue = 100 * time.Millisecond

// openTUN makes a TUN device in the network namespace of the calling thread.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(os.NewSyscallError("TUNSETIFF", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// packet is a packet in flight.
type packet struct {
	data []byte
	due  time.Time // when it arrives
}

// carry moves packets both ways until ctx ends, and returns when both directions have stopped. It closes both ends.
func (l Link) carry(ctx context.Context, a, b *os.File) {
	var work sync.WaitGroup
	defer work.Wait()
	stop := context.AfterFunc(ctx, func() {
		_ = a.Close() // ends the reads; there is nothing to lose
		_ = b.Close()
	})
	defer stop()
	work.Go(func() { l.oneWay(ctx, a, b, 1) })
	l.oneWay(ctx, b, a, 2)
}

// oneWay moves packets from one end to the other.
func (l Link) oneWay(ctx context.Context, from, to *os.File, seed uint64) {
	// Enough for all packets in flight: more than a second of full packets at the highest rate.
	queue := make(chan packet, 1<<15)
	var delivery sync.WaitGroup
	defer delivery.Wait()
	defer close(queue)
	delivery.Go(func() { deliver(ctx, queue, to) })
	dice := rand.New(rand.NewPCG(seed, uint64(l.RTT)))
	var free time.Time // when the slow end has sent all packets before
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return // closed
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > MaxQueue || dice.Float64() < l.Loss {
			continue
		}
		free = free.Add(time.Duration(float64(n) * 8 / l.Rate * 1e9))
		select {
		case queue <- packet{append([]byte(nil), buffer[:n]...), free.Add(l.RTT / 2)}:
		default: // a full queue drops packets, as on any link
		}
	}
}

// deliver writes packets when they are due. The queue is in that order.
func deliver(ctx context.Context, queue <-chan packet, to *os.File) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for p := range queue {
		if wait := time.Until(p.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				continue // only to drain the queue
			}
		}
		_, _ = to.Write(p.data) // a packet that the other end refuses is lost
	}
}
