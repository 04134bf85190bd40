package fleet

import (
	"context"
	"errors"
	"strings"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/force"
	"brink/protocol"
)

// learned takes what another node holds and this one does not: the body is pulled from it, checked as if a stranger
// had handed it over, and in force once its bundles are here. It is called by package gossip, again and again until
// the node has announced the pointer or a higher one.
func (f *Fleet) learned(ctx context.Context, from gossip.Member, p gossip.Pointer) {
	err := f.Work.Guard(func() error {
		switch p.Kind {
		case gossip.Manifest:
			app, name, _ := strings.Cut(p.Name, "/")
			return f.pull(ctx, from, app, name)
		case gossip.Trust:
			return f.pullTrust(ctx, from, p.Name)
		case gossip.Journal:
			return f.Journal(ctx, from, p)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		f.faults.Add(1)
		f.Logger.Warn("what another node holds is not taken", "node", from.Name, "pointer", p.String(),
			"error", err)
	}
}

// pullTrust takes the trust document of an org from another node.
func (f *Fleet) pullTrust(ctx context.Context, from gossip.Member, org string) error {
	if f.Door.State.Trust(org) == nil {
		return nil // an org that this node was not given is none of its business
	}
	raw, err := f.Ask(ctx, asMember(from), "GET", protocol.TrustPath(org), nil, channel.MaxTrust)
	if err != nil {
		return err
	}
	fetch := func(version uint64) ([]byte, error) {
		raw, err := f.Ask(ctx, asMember(from), "GET", protocol.TrustVersionPath(org, version), nil, channel.MaxTrust)
		if protocol.CodeOf(err) == protocol.CodeUnknownOrg {
			return nil, nil
		}
		return raw, err
	}
	if err := f.Door.ApplyTrust(ctx, org, raw, fetch); err != nil {
		return err
	}
	return f.Door.FetchVersions(f.Context, org, fetch)
}

// pull takes the manifest of a channel from another node.
func (f *Fleet) pull(ctx context.Context, from gossip.Member, app, name string) error {
	if f.Door.State.Claiming(app) == nil {
		return nil // likewise
	}
	raw, err := f.Ask(ctx, asMember(from), "GET", protocol.ChannelPath(app, name), nil, channel.MaxManifest)
	if err != nil {
		return err
	}
	source := force.Source{Kind: force.Gossiped, Node: from.Name}
	_, err = f.Door.Apply(ctx, raw, app, name, source)
	if _, refused := errors.AsType[*channel.RefusedError](err); !refused {
		return err
	}
	// It may be signed by keys of a trust document that is on its way too.
	stored, parsing := channel.ParseManifest(raw)
	if parsing != nil || f.pullTrust(ctx, from, stored.Org) != nil {
		return err
	}
	_, err = f.Door.Apply(ctx, raw, app, name, source)
	return err
}

// Hint notes that a bundle which is being fetched is at the node of the name, and returns what ends that.
func (f *Fleet) Hint(id digest.Digest, node string) (end func()) {
	m, ok := f.Member(node)
	if !ok {
		return func() {}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hints[id] = m
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.hints, id)
	}
}

// hinted returns which member is known to have a bundle.
func (f *Fleet) hinted(id digest.Digest) (gossip.Member, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.hints[id]
	return m, ok
}
