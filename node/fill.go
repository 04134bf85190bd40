package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/gossip"
	"brink/node/serve"
	"brink/origin"
	"brink/protocol"
	"brink/store"
)

// maxAsked bounds the peers that are asked for one bundle in one round. Those after them would have it from the same
// place.
const maxAsked = 8

// fillWait bounds how long a request waits for a bundle or a chunk to be brought in. Devices ask again.
const fillWait = 20 * time.Second

// newFiller returns what brings in bundles from the other nodes and the origin. Alone and without an origin, it finds
// nothing anywhere.
func newFiller(n *Node) (*origin.Filler, error) {
	return origin.New(origin.Config{
		Store:   origin.Into(n.store),
		Sources: n.sources,
		Signed:  n.channels.signed,
		Rate:    n.config.FillRate,
		Logger:  n.config.Logger,
	})
}

// sources returns where a bundle may be had, nearest first: the region's owner, who is known to hold it, the others of
// the region, other regions, the origin.
func (n *Node) sources(id digest.Digest) []origin.Source {
	var list []origin.Source
	if n.fleet != nil {
		list = n.peersFor(id)
	}
	if n.bucket != nil {
		list = append(list, n.bucket)
	}
	return list
}

func (n *Node) peersFor(id digest.Digest) []origin.Source {
	self := origin.Member{Name: n.fleet.config.Node, Region: n.fleet.config.Region}
	var members []origin.Member
	draining := map[string]bool{}
	for _, m := range n.fleet.others() {
		members = append(members, asMember(m))
		draining[m.Name] = m.State == gossip.Draining
	}
	order := origin.Order(self, members, id)
	slices.SortStableFunc(order, func(a, b origin.Member) int { // those that will end soon come last
		switch {
		case draining[a.Name] == draining[b.Name]:
			return 0
		case draining[a.Name]:
			return 1
		}
		return -1
	})
	if holder, ok := n.fleet.hinted(id); ok {
		order = after(order, asMember(holder), n.ownsFirst(self, members, id))
	}
	var list []origin.Source
	for _, m := range order[:min(len(order), maxAsked)] {
		peer, err := origin.NewPeer(origin.PeerConfig{Name: m.Name, URL: m.URL, Ring: n.fleet.ring, HTTP: n.peering})
		if err != nil {
			n.config.Logger.Debug("node can not be asked", "node", m.Name, "error", err)
			continue
		}
		list = append(list, peer)
	}
	return list
}

// ownsFirst returns how many members are asked before the one that is known to hold a bundle: the region's owner, so
// that the bundle comes into the region once; none where this node is the owner.
func (n *Node) ownsFirst(self origin.Member, members []origin.Member, id digest.Digest) int {
	owner, ok := origin.Owner(self.Region, append(members, self), id)
	if !ok || owner.Name == self.Name {
		return 0
	}
	return 1
}

// after returns the order with one member at the place given, or nearer.
func after(order []origin.Member, m origin.Member, place int) []origin.Member {
	moved := make([]origin.Member, 0, len(order)+1)
	for i, other := range order {
		if other.Name == m.Name && i <= place {
			return order
		}
		if i == place {
			moved = append(moved, m)
		}
		if other.Name != m.Name {
			moved = append(moved, other)
		}
	}
	if len(order) <= place {
		moved = append(moved, m)
	}
	return moved
}

func asMember(m gossip.Member) origin.Member {
	return origin.Member{Name: m.Name, Region: m.Region, URL: m.URL}
}

// alone reports whether there is nowhere to ask for what is lacking.
func (n *Node) alone() bool { return n.fleet == nil && n.bucket == nil }

// known returns a bundle with its index. One that is not here and that a channel serves is brought in while the request
// waits.
func (n *Node) known(id digest.Digest) (*store.Bundle, error) {
	b, err := n.store.Bundle(id)
	if !errors.Is(err, store.ErrNotFound) || n.alone() || !n.channels.names(id) {
		return b, missing(id, err)
	}
	return n.fetch(id, 0)
}

// asked is known for a request that may have come from another node: it goes on over a few nodes and no further, and
// the fleet may ask for bundles that no channel here names yet.
func (n *Node) asked(r *serve.Request, id digest.Digest) (*store.Bundle, error) {
	b, err := n.store.Bundle(id)
	if err == nil || n.alone() {
		return b, missing(id, err)
	}
	hops := origin.ParseHops(string(r.Request.Header.Peek(origin.HopsField)))
	switch {
	case hops == 0:
		return n.known(id)
	case hops >= origin.MaxHops:
		return nil, missing(id, err)
	case !n.channels.names(id) && n.fromFleet(r, nil) != nil:
		return nil, missing(id, err)
	}
	return n.fetch(id, hops)
}

// fetch brings a bundle in.
func (n *Node) fetch(id digest.Digest, hops int) (*store.Bundle, error) {
	ctx, cancel := context.WithTimeout(n.ctx, fillWait)
	defer cancel()
	switch err := n.filler.Fill(origin.WithHops(ctx, hops), id); {
	case errors.Is(err, origin.ErrNotFound):
		return nil, missing(id, store.ErrNotFound)
	case err != nil:
		n.config.Logger.Warn("bundle can not be brought in", "bundle", id.Short(), "error", err)
		return nil, serve.Problem(protocol.CodeUnavailable, fmt.Sprintf("bundle %s is not here yet", id.Short()),
			"ask again, or ask another node")
	}
	b, err := n.store.Bundle(id)
	return b, missing(id, err)
}

// missing gives the error for a bundle that is not here its code.
func missing(id digest.Digest, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownBundle, fmt.Sprintf("bundle %s is not here", id.Short()), "")
	}
	return err
}

// chunks are the chunks of one bundle. One that turns out to be lost or damaged is fetched again while whoever wants it
// waits.
type chunks struct {
	*store.Reader

	node   *Node
	bundle digest.Digest
}

// chunks returns what reads the chunks of a bundle. Close it.
func (n *Node) chunks(id digest.Digest) chunks {
	return chunks{Reader: n.store.Reader(), node: n, bundle: id}
}

// Chunk implements bundle.Chunks.
func (c chunks) Chunk(ctx context.Context, want bundle.Chunk) ([]byte, error) {
	n := c.node
	data, err := c.Reader.Chunk(ctx, want)
	if !errors.Is(err, store.ErrNotFound) || n.alone() {
		return data, err
	}
	waiting, cancel := context.WithTimeout(ctx, fillWait)
	defer cancel()
	if healing := n.filler.Heal(waiting, c.bundle); healing != nil {
		n.config.Logger.Error("lost chunk can not be brought in again", "bundle", c.bundle.Short(),
			"chunk", want.Digest.Short(), "error", healing)
		return nil, err
	}
	n.healed.Add(1)
	n.config.Logger.Warn("lost chunk was brought in again", "bundle", c.bundle.Short(), "chunk", want.Digest.Short())
	return c.Reader.Chunk(ctx, want)
}

// intent answers GET /v1/bundles/{bundle}/intent: what the publisher signed, for other nodes of the fleet. It opens
// uploads until it expires, so nobody else is given it.
func (n *Node) intent(r *serve.Request) error {
	if err := n.fromFleet(r, nil); err != nil {
		return err
	}
	id, err := r.Digest()
	if err != nil {
		return err
	}
	raw, err := n.store.Intent(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && len(raw) == 0 {
		return serve.Problem(protocol.CodeUnknownBundle, fmt.Sprintf("there is no intent of bundle %s here", id.Short()), "")
	}
	if err != nil {
		return err
	}
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store") // it says who published, and goes when it is replaced
	r.Response.SetBodyRaw(raw)
	return nil
}
