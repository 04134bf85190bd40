package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// link is a wire between two network namespaces, with a delay, a rate and a loss of its own. Its ends are TUN devices,
// so that real TCP stacks meet over it; this program carries the packets.
type link struct {
	rtt  time.Duration
	rate float64 // bits per second, each way
	loss float64 // share of packets, each way
	// window is the server's initial congestion window in packets, by the option initcwnd of its route; 0: the
	// kernel's, which is 10.
	window int
	// congestion is the server's congestion control; empty: the kernel's default.
	congestion string
}

// linkQueue is how long a packet may wait for its turn at the slow end before it is dropped, as in a home router.
const linkQueue = 100 * time.Millisecond

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

// packet is one on its way.
type packet struct {
	data []byte
	due  time.Time // when it arrives
}

// carry moves packets both ways until ctx ends, and returns when all of that has stopped. It closes both ends.
func (l link) carry(ctx context.Context, a, b *os.File) {
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
func (l link) oneWay(ctx context.Context, from, to *os.File, seed uint64) {
	// Room for what the link holds: more than a second of full packets at the highest rate.
	queue := make(chan packet, 1<<15)
	var delivery sync.WaitGroup
	defer delivery.Wait()
	defer close(queue)
	delivery.Go(func() { deliver(ctx, queue, to) })
	dice := rand.New(rand.NewPCG(seed, uint64(l.rtt)))
	var free time.Time // when the slow end has sent all that came before
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
		if free.Sub(now) > linkQueue || dice.Float64() < l.loss {
			continue
		}
		free = free.Add(time.Duration(float64(n) * 8 / l.rate * 1e9))
		select {
		case queue <- packet{append([]byte(nil), buffer[:n]...), free.Add(l.rtt / 2)}:
		default: // more than there is room for is dropped, as on any link
		}
	}
}

// deliver writes packets when they are due. They come in that order.
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
		_, _ = to.Write(p.data) // a packet that the other end does not take is lost
	}
}
