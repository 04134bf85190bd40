package gossip

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Bounds of one attempt to reach nodes that are not members.
const (
	joinAtOnce = 4 // connections at the same time
	joinEnough = 3 // answers: each of these nodes tells all others within a second
)

// joinLoop joins the known nodes that are not members: at the start, while this node is alone, and while there are any.
// It never gives up. After a partition memberlist itself tries only for some seconds to reach the other side.
func (g *Gossip) joinLoop(ctx context.Context, b *addressBook) {
	pace := g.config.Pace.Rejoin
	wait := pace / 30
	attempt := time.NewTimer(0)
	defer attempt.Stop()
	size := g.members.size()
	fresh := true // this node has not exchanged tables with another node since its start
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.toJoin:
			before := size
			size = g.members.size()
			b.update(g.present())
			if err := b.save(); err != nil {
				g.config.Logger.Warn("cannot write the last known members", "file", g.config.Peers, "error", err)
			}
			if size < before {
				wait = pace / 30
				attempt.Reset(jitter(wait))
			}
		case <-attempt.C:
			if g.join(ctx, b, fresh) {
				fresh = false
			}
			if wait = min(2*wait, pace); g.members.size() > 1 && !fresh {
				wait = pace
			}
			attempt.Reset(jitter(wait))
		}
	}
}

// jitter returns half of d to one and a half of it, so that nodes that were cut off together do not retry together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }

// present returns the addresses of the other members.
func (g *Gossip) present() map[netip.AddrPort]bool {
	present := map[netip.AddrPort]bool{}
	for _, m := range g.Members() {
		if address, err := netip.ParseAddrPort(m.Address); err == nil && m.Name != g.config.Name {
			present[address] = true
		}
	}
	return present
}

// join tries known nodes that are not members, in random order, until enough have answered, and reports whether one
// has. A fresh node tries members too: it may know them from their packets alone, which do not contain their tables,
// and the next exchange may be far off.
func (g *Gossip) join(ctx context.Context, b *addressBook, fresh bool) bool {
	alone := g.members.size() == 1
	targets := g.targets(ctx, b, fresh)
	rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	if !alone {
		targets = targets[:min(len(targets), joinEnough)]
	}
	var mu sync.Mutex // answered and failed
	answered, failed := 0, []netip.AddrPort(nil)
	next := make(chan netip.AddrPort)
	var wait sync.WaitGroup
	for range min(joinAtOnce, len(targets)) {
		wait.Go(func() {
			for address := range next {
				g.count.joined.Add(1)
				_, err := g.list.Join([]string{address.String()})
				if err != nil {
					g.count.unheard.Add(1)
				}
				mu.Lock()
				if err == nil {
					answered++
				} else {
					failed = append(failed, address)
				}
				mu.Unlock()
			}
		})
	}
	for _, address := range targets {
		mu.Lock()
		enough := answered >= joinEnough
		mu.Unlock()
		if enough || ctx.Err() != nil {
			break
		}
		next <- address
	}
	close(next)
	wait.Wait()
	switch {
	case !alone:
		for _, address := range failed {
			b.recordFailure(address)
		}
	case g.members.size() > 1:
		g.config.Logger.Info("joined the fleet", "fleet", g.config.Fleet, "members", g.members.size())
	case len(failed) > 0 && ctx.Err() == nil:
		g.config.Logger.Warn("no other node answers; this one carries on alone", "tried", len(failed))
	}
	return answered > 0
}

// targets returns the addresses of known nodes that are not members; for a fresh node, of members as well.
func (g *Gossip) targets(ctx context.Context, b *addressBook, fresh bool) []netip.AddrPort {
	present := g.present()
	seen := maps.Clone(present)
	if fresh {
		clear(seen)
	}
	if self, err := netip.ParseAddrPort(g.self.Address); err == nil {
		seen[self] = true
	}
	var targets []netip.AddrPort
	add := func(address netip.AddrPort) {
		if !seen[address] {
			seen[address] = true
			targets = append(targets, address)
		}
	}
	for _, text := range g.config.Join {
		host, port, err := splitHost(text)
		if err != nil {
			continue // Validate has reported it
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			add(netip.AddrPortFrom(ip.Unmap(), port))
			continue
		}
		ips, err := g.config.Resolve(ctx, host)
		if err != nil {
			g.config.Logger.Debug("cannot resolve a host to join", "host", host, "error", err)
		}
		for _, ip := range ips {
			add(netip.AddrPortFrom(ip.Unmap(), port))
		}
	}
	for _, address := range b.known {
		add(address)
	}
	if fresh {
		for address := range present {
			add(address)
		}
	}
	return targets
}
