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

// fetchAnnounced fetches what another node has announced and this one does not have, and applies it. The content is
// verified as if it came from a stranger. Package gossip calls it repeatedly until the node has announced the pointer
// or a higher one.
func (f *Fleet) fetchAnnounced(ctx context.Context, from gossip.Member, p gossip.Pointer) {
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
		f.Logger.Warn("announcement of another node not applied", "node", from.Name, "pointer", p.String(),
			"error", err)
	}
}

// pullTrust fetches the trust document of an org from another node and applies it.
func (f *Fleet) pullTrust(ctx context.Context, from gossip.Member, org string) error {
	if f.Door.State.Trust(org) == nil {
		return nil // the org is not configured here
	}
	raw, err := f.Request(ctx, asMember(from), "GET", protocol.TrustPath(org), nil, channel.MaxTrust)
	if err != nil {
		return err
	}
	fetch := func(version uint64) ([]byte, error) {
		raw, err := f.Request(ctx, asMember(from), "GET", protocol.TrustVersionPath(org, version), nil, channel.MaxTrust)
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

// pull fetches the manifest of a channel from another node and applies it.
func (f *Fleet) pull(ctx context.Context, from gossip.Member, app, name string) error {
	if f.Door.State.Claiming(app) == nil {
		return nil // no configured org claims it
	}
	raw, err := f.Request(ctx, asMember(from), "GET", protocol.ChannelPath(app, name), nil, channel.MaxManifest)
	if err != nil {
		return err
	}
	source := force.Source{Kind: force.Gossiped, Node: from.Name}
	_, err = f.Door.Apply(ctx, raw, app, name, source)
	if _, refused := errors.AsType[*channel.RefusedError](err); !refused {
		return err
	}
	// It may be signed by keys of a trust document that has not arrived yet.
	stored, parsing := channel.ParseManifest(raw)
	if parsing != nil || f.pullTrust(ctx, from, stored.Org) != nil {
		return err
	}
	_, err = f.Door.Apply(ctx, raw, app, name, source)
	return err
}

// Hint records that the named node has a bundle which is being fetched. The caller calls end after the fetch.
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

// hinted returns the member that is known to have a bundle.
func (f *Fleet) hinted(id digest.Digest) (gossip.Member, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.hints[id]
	return m, ok
}
