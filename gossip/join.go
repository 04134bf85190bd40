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
	joinEnough = 3 // nodes: each of them tells all others within a second
)

// usher brings this node and those it knows of together, for ever: when it begins, when it is alone, and while a known
// node is not a member. After a partition memberlist tries for some seconds only to reach those on the other side.
func (g *Gossip) usher(ctx context.Context, b *book) {
	pace := g.config.Pace.Rejoin
	wait := pace / 30
	attempt := time.NewTimer(0)
	defer attempt.Stop()
	size := g.members.size()
	fresh := true // nobody has told this node yet what was published while it was away, nor the other way round
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.moved:
			before := size
			size = g.members.size()
			b.see(g.present())
			if err := b.save(); err != nil {
				g.config.Logger.Warn("last known members could not be written", "file", g.config.Peers, "error", err)
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

// jitter returns half of d to one and a half of it, so that nodes that lost each other together do not come back
// together.
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

// join tries some of the nodes that are known and no members, in any order, until enough have answered, and reports
// whether one has. A fresh node asks members too: it may know them by their packets alone, which do not tell what they
// hold, and the next exchange may be far off.
func (g *Gossip) join(ctx context.Context, b *book, fresh bool) bool {
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
			b.fail(address)
		}
	case g.members.size() > 1:
		g.config.Logger.Info("joined the fleet", "fleet", g.config.Fleet, "members", g.members.size())
	case len(failed) > 0 && ctx.Err() == nil:
		g.config.Logger.Warn("no other node answers; this one works on alone", "tried", len(failed))
	}
	return answered > 0
}

// targets returns where nodes may be that are no members; for a fresh node, members as well.
func (g *Gossip) targets(ctx context.Context, b *book, fresh bool) []netip.AddrPort {
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
			g.config.Logger.Debug("host to join is not known", "host", host, "error", err)
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
