package node

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"brink/channel"
	"brink/digest"
	"brink/node/serve"
	"brink/protocol"
	"brink/store"
)

// trusts holds the trust documents of the orgs that the node was given. A later document takes the place of its
// predecessor; an org that was not given never comes in.
type trusts struct {
	mu    sync.RWMutex
	byOrg map[string]*channel.Trust
}

// get returns the trust document of an org, or nil.
func (t *trusts) get(org string) *channel.Trust {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byOrg[org]
}

func (t *trusts) set(trust *channel.Trust) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byOrg == nil {
		t.byOrg = map[string]*channel.Trust{}
	}
	t.byOrg[trust.Org()] = trust
}

// all returns the trust documents, sorted by org.
func (t *trusts) all() []*channel.Trust {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*channel.Trust, 0, len(t.byOrg))
	for _, org := range slices.Sorted(maps.Keys(t.byOrg)) {
		list = append(list, t.byOrg[org])
	}
	return list
}

// claiming returns the first trust document by org that claims the app, or nil.
func (t *trusts) claiming(app string) *channel.Trust {
	for _, trust := range t.all() {
		if trust.Apps(app) {
			return trust
		}
	}
	return nil
}

// adopt holds the trust documents that were given against those that were in force before. One that the former roots
// did not sign is refused. One that is older gives way: others may have sent its successor meanwhile.
func (n *Node) adopt() error {
	for _, trust := range n.channels.trusts.all() {
		if err := n.adoptOne(trust); err != nil {
			return fmt.Errorf("trust document of %s: %w", trust.Org(), err)
		}
	}
	return nil
}

func (n *Node) adoptOne(trust *channel.Trust) error {
	raw, err := n.store.Trust(trust.Org())
	if errors.Is(err, store.ErrNotFound) {
		return n.keepTrust(trust, digest.Digest{}, nil)
	}
	if err != nil {
		return err
	}
	former, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	if trust.Version() < former.Version() {
		// What is in the store was signed by the roots of what came before it, back to a document that was given.
		if _, err := trust.Advance(former.Raw(), n.storedVersion(trust.Org())); err != nil {
			return fmt.Errorf("version %d is in force here, and does not follow from version %d, which was given: %w",
				former.Version(), trust.Version(), err)
		}
		n.config.Logger.Warn("trust document is older than the one in force, which stays", "org", trust.Org(),
			"given", trust.Version(), "in_force", former.Version())
		n.channels.trusts.set(former)
		return nil
	}
	accepted, err := former.Advance(trust.Raw(), n.storedVersion(trust.Org()))
	if err != nil || accepted == former {
		return err
	}
	return n.keepTrust(accepted, former.Digest(), nil)
}

// keepTrust makes a trust document durable as the one in force, after it and those that led to it as versions of their
// own: whoever finds the one in force here finds them as well.
func (n *Node) keepTrust(trust *channel.Trust, former digest.Digest, between []*channel.Trust) error {
	for _, one := range append(between, trust) {
		err := n.store.PutTrustVersion(n.ctx, one.Org(), one.Version(), one.Raw())
		if err != nil && !errors.Is(err, store.ErrConflict) { // another of that version was kept first, and stays
			return err
		}
	}
	return n.store.PutTrust(n.ctx, trust.Org(), trust.Raw(), former)
}

// versions returns one version of an org's trust document as signed, or nil if it is not there.
type versions func(version uint64) ([]byte, error)

// storedVersion returns what reads the versions that are kept here.
func (n *Node) storedVersion(org string) versions {
	return func(version uint64) ([]byte, error) {
		raw, err := n.store.TrustVersion(org, version)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return raw, err
	}
}

// succeed takes the successor of a trust document that is in force, wherever it came from. The versions between the two
// are asked of fetch, if it is not nil. What the document no longer allows is out of force when this returns, and what
// it allows again is in force.
func (n *Node) succeed(org string, raw []byte, fetch versions) error {
	n.succession.Lock()
	defer n.succession.Unlock()
	former := n.channels.trusts.get(org)
	if former == nil {
		return serve.Problem(protocol.CodeUnknownOrg, fmt.Sprintf("the node was not given a trust document of org %q", org),
			"start it with --trust")
	}
	var between []*channel.Trust
	trust, err := former.Advance(raw, func(version uint64) ([]byte, error) {
		if fetch == nil {
			return nil, nil
		}
		raw, err := fetch(version)
		if err != nil || raw == nil {
			return nil, err
		}
		one, err := channel.LoadTrust(raw)
		if err == nil {
			between = append(between, one)
		}
		return raw, err
	})
	if err != nil {
		return err
	}
	if trust == former {
		// Nothing newer: an error tells a sender that what he sent is older, or another of the same version.
		_, err := former.Succeed(raw)
		return err
	}
	if err := n.keepTrust(trust, former.Digest(), between); err != nil {
		return err
	}
	n.channels.trusts.set(trust)
	n.channels.changes.Add(1)
	n.config.Logger.Info("trust document replaced", "org", org, "version", trust.Version())
	n.announceTrust(trust)
	return n.review(org)
}

// completeTrust brings in the versions of an org's trust document that are not kept here yet, newest first. Each must
// be one from which the next follows.
func (n *Node) completeTrust(org string, fetch versions) error {
	next := n.channels.trusts.get(org)
	if next == nil {
		return nil
	}
	stored := n.storedVersion(org)
	lowest := max(1, int64(next.Version())-channel.MaxAdvance)
	for version := int64(next.Version()) - 1; version >= lowest; version-- {
		raw, err := stored(uint64(version))
		if err == nil && raw == nil {
			raw, err = fetch(uint64(version))
		}
		if err != nil {
			return err
		}
		if raw == nil {
			continue
		}
		one, err := channel.LoadTrust(raw)
		if err != nil {
			return err
		}
		if one.Version() != uint64(version) || one.Org() != org {
			return fmt.Errorf("version %d of the trust document of %s was sent for version %d",
				one.Version(), one.Org(), version)
		}
		if _, err := one.Succeed(next.Raw()); err != nil {
			return fmt.Errorf("version %d of the trust document of %s: %w", version, org, err)
		}
		if err := n.store.PutTrustVersion(n.ctx, org, one.Version(), raw); err != nil {
			return err
		}
		next = one
	}
	return nil
}

// putTrust answers PUT /v1/orgs/{org}/trust: the successor of the trust document in force. Its roots have signed it, so
// whoever brings it may.
func (n *Node) putTrust(r *serve.Request) error {
	raw, err := r.ReadBody(channel.MaxTrust)
	if err != nil {
		return err
	}
	if err := n.succeed(r.Names[0], raw, nil); err != nil {
		return err
	}
	return r.WriteJSON(http.StatusOK, protocol.TrustTaken{
		Org: r.Names[0], Version: n.channels.trusts.get(r.Names[0]).Version(),
	})
}

// trustVersion answers GET /v1/orgs/{org}/trust/{version}: a version that was in force here, or that led to one.
func (n *Node) trustVersion(r *serve.Request) error {
	version, err := strconv.ParseUint(r.Names[1], 10, 64)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "the version is no number", "")
	}
	raw, err := n.store.TrustVersion(r.Names[0], version)
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownOrg,
			fmt.Sprintf("version %d of a trust document of org %q is not here", version, r.Names[0]), "")
	}
	if err != nil {
		return err
	}
	return n.sender.SendSigned(r, raw, digest.Sum(raw))
}

// review brings into force what the store holds of an org's channels and its trust document allows, and takes out the
// rest.
func (n *Node) review(org string) error {
	return n.store.Manifests(func(app, name string, raw []byte, err error) bool {
		stored, parsing := channel.ParseManifest(raw)
		if err != nil || parsing != nil || stored.Org != org {
			return true
		}
		key := app + "/" + name
		n.moves.enter(key)
		defer n.moves.leave(key)
		m, err := n.reverify(raw)
		if err != nil {
			n.config.Logger.Warn("channel taken out: the new trust document does not allow it", "app", app,
				"channel", name, "error", err)
			n.channels.lapse(stored)
			return true
		}
		n.channels.set(m)
		n.announce(m)
		return true
	})
}
