package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/protocol"
)

// learned takes what another node holds and this one does not: the body is pulled from it, checked as if a stranger
// had handed it over, and in force once its bundles are here. It is called by package gossip, again and again until
// the node has announced the pointer or a higher one.
func (n *Node) learned(ctx context.Context, from gossip.Member, p gossip.Pointer) {
	err := n.guard(func() error {
		switch p.Kind {
		case gossip.Manifest:
			app, name, _ := strings.Cut(p.Name, "/")
			return n.pull(ctx, from, app, name)
		case gossip.Trust:
			return n.pullTrust(ctx, from, p.Name)
		case gossip.Journal:
			return n.pullChoices(ctx, from, p)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		n.fleetFaults.Add(1)
		n.config.Logger.Warn("what another node holds is not taken", "node", from.Name, "pointer", p.String(),
			"error", err)
	}
}

// pullTrust takes the trust document of an org from another node.
func (n *Node) pullTrust(ctx context.Context, from gossip.Member, org string) error {
	if n.channels.trusts.get(org) == nil {
		return nil // an org that this node was not given is none of its business
	}
	raw, err := n.ask(ctx, from, "GET", protocol.TrustPath(org), nil, channel.MaxTrust)
	if err != nil {
		return err
	}
	fetch := func(version uint64) ([]byte, error) {
		raw, err := n.ask(ctx, from, "GET", protocol.TrustVersionPath(org, version), nil, channel.MaxTrust)
		if protocol.CodeOf(err) == protocol.CodeUnknownOrg {
			return nil, nil
		}
		return raw, err
	}
	if err := n.succeed(org, raw, fetch); err != nil {
		return err
	}
	return n.completeTrust(org, fetch)
}

// pull takes the manifest of a channel from another node.
func (n *Node) pull(ctx context.Context, from gossip.Member, app, name string) error {
	if n.channels.trusts.claiming(app) == nil {
		return nil // likewise
	}
	raw, err := n.ask(ctx, from, "GET", protocol.ChannelPath(app, name), nil, channel.MaxManifest)
	if err != nil {
		return err
	}
	err = n.follow(ctx, raw, app, name, &from)
	if _, refused := errors.AsType[*channel.RefusedError](err); !refused {
		return err
	}
	// It may be signed by keys of a trust document that is on its way too.
	stored, parsing := channel.ParseManifest(raw)
	if parsing != nil || n.pullTrust(ctx, from, stored.Org) != nil {
		return err
	}
	return n.follow(ctx, raw, app, name, &from)
}

// follow brings a signed manifest into force that came from another node (which is nil otherwise) or from the origin.
// It returns nil when it is in force, or something newer is. The manifest that was in force stays so until all the
// bundles of the new one are here; ctx ends the wait for them.
func (n *Node) follow(ctx context.Context, raw []byte, app, name string, holder *gossip.Member) error {
	m, err := n.verify(raw, app, name)
	if err != nil {
		return err
	}
	if done, err := n.overtaken(m); done || err != nil {
		return err
	}
	for id := range m.Needs() {
		if err := n.bring(ctx, id, holder, n.channels.get(app, name) != nil); err != nil {
			return fmt.Errorf("release %s of %s %s: %w", m.Release.Version, app, name, err)
		}
	}
	key := app + "/" + name
	n.moves.enter(key)
	defer n.moves.leave(key)
	if done, err := n.overtaken(m); done || err != nil { // somebody may have moved the channel meanwhile
		return err
	}
	if err := n.compareBundles(m, true); err != nil {
		return err
	}
	current, _ := n.channels.held(app, name)
	var expect digest.Digest
	if current != nil {
		expect = current.Digest()
	}
	if err := n.store.PutManifest(n.ctx, m.Raw(), m, expect); err != nil {
		return err
	}
	n.config.Logger.Info("channel moved", "app", app, "channel", name, "sequence", m.Sequence,
		"version", m.Release.Version, "bundle", m.Release.Bundle.Short(), "from", holderName(holder))
	n.builder.share.follows(m, holder)
	n.activate(n.ctx, m)
	return nil
}

func holderName(holder *gossip.Member) string {
	if holder == nil {
		return "origin"
	}
	return holder.Name
}

// overtaken reports whether the channel is where m would take it, or further. An error says that m can not follow what
// is in force.
//
// Two manifests of one sequence are an equivocation: somebody signed both. All nodes pick the one whose statement has
// the larger digest, and say so; the next sequence ends it.
func (n *Node) overtaken(m *channel.Manifest) (bool, error) {
	current, lapsed := n.channels.held(m.App, m.Channel)
	if current == nil {
		return false, nil
	}
	if current.Order() == m.Order() && current.Statement() != m.Statement() {
		mine, theirs := current.Statement(), m.Statement()
		n.equivocations.Add(1)
		n.config.Logger.Error("two manifests of one sequence are signed: an equivocation", "app", m.App,
			"channel", m.Channel, "sequence", m.Sequence, "in_force", mine.Short(), "other", theirs.Short(),
			"hint", "it was published on both sides of a cut, or somebody has the key: publish again, which ends it")
		return bytes.Compare(theirs[:], mine[:]) <= 0, nil
	}
	if m.Order() <= current.Order() && !lapsed {
		return true, nil
	}
	err := follows(current, lapsed, m)
	if refused, ok := errors.AsType[*channel.RefusedError](err); ok {
		switch refused.Code {
		case channel.CodeSequenceNotHigher:
			return true, nil
		case channel.CodeDowngrade:
			// It was published on the other side of a cut. All nodes have to end at the higher sequence; devices that are
			// above it stay where they are, which each of them sees to.
			n.config.Logger.Warn("the fleet has a higher sequence with a lower version: devices above it wait for a higher one",
				"app", m.App, "channel", m.Channel, "sequence", m.Sequence, "version", m.Release.Version,
				"hint", "publish a higher version")
			return false, nil
		}
	}
	return false, err
}

// bring fills a bundle, from the member that is known to hold it if nobody nearer has it. Where the channel has
// something in force meanwhile, Config.FillRate holds.
func (n *Node) bring(ctx context.Context, id digest.Digest, holder *gossip.Member, patient bool) error {
	if holder != nil {
		n.fleet.hint(id, *holder)
		defer n.fleet.unhint(id)
		n.filler.Forget(id)
	}
	if patient && n.config.FillRate > 0 {
		return n.filler.FillAhead(ctx, id)
	}
	return n.filler.Fill(ctx, id)
}

// hint notes who holds a bundle.
func (f *fleet) hint(id digest.Digest, holder gossip.Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hints[id] = holder
}

func (f *fleet) unhint(id digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.hints, id)
}

// hinted returns who is known to hold a bundle.
func (f *fleet) hinted(id digest.Digest) (gossip.Member, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.hints[id]
	return m, ok
}
