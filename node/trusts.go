package node

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"brink/channel"
	"brink/digest"
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

func (t *trusts) orgs() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return strings.Join(slices.Sorted(maps.Keys(t.byOrg)), ", ")
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
		return n.store.PutTrust(n.ctx, trust.Org(), trust.Raw(), digest.Digest{})
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
		if _, err := trust.Accept(former.Raw(), former.Issued()); err != nil {
			return fmt.Errorf("version %d is in force here, and does not follow from version %d, which was given: %w",
				former.Version(), trust.Version(), err)
		}
		n.config.Logger.Warn("trust document is older than the one in force, which stays", "org", trust.Org(),
			"given", trust.Version(), "in_force", former.Version())
		n.channels.trusts.set(former)
		return nil
	}
	accepted, err := former.Accept(trust.Raw(), n.config.Now())
	if err != nil || accepted == former {
		return err
	}
	return n.store.PutTrust(n.ctx, trust.Org(), accepted.Raw(), former.Digest())
}

// succeed takes the successor of a trust document that is in force, wherever it came from. What it no longer allows is
// out of force when this returns, and what it allows again is in force.
func (n *Node) succeed(org string, raw []byte) error {
	n.succession.Lock()
	defer n.succession.Unlock()
	former := n.channels.trusts.get(org)
	if former == nil {
		return problem(protocol.CodeUnknownOrg, fmt.Sprintf("the node was not given a trust document of org %q", org),
			"start it with --trust")
	}
	trust, err := former.Accept(raw, n.config.Now())
	if err != nil || trust == former {
		return err
	}
	if err := n.store.PutTrust(n.ctx, org, trust.Raw(), former.Digest()); err != nil {
		return err
	}
	n.channels.trusts.set(trust)
	n.config.Logger.Info("trust document replaced", "org", org, "version", trust.Version())
	n.announceTrust(trust)
	return n.review(org)
}

// putTrust answers PUT /v1/orgs/{org}/trust: the successor of the trust document in force. Its roots have signed it, so
// whoever brings it may.
func (n *Node) putTrust(r *request) error {
	raw, err := r.readAll(channel.MaxTrust)
	if err != nil {
		return err
	}
	if err := n.succeed(r.names[0], raw); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, protocol.TrustTaken{
		Org: r.names[0], Version: n.channels.trusts.get(r.names[0]).Version(),
	})
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
