package force

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"brink/channel"
)

// trusts holds the trust documents of the orgs that the node was given. A later document replaces its predecessor; an
// org that was not given never comes in.
type trusts struct {
	mu    sync.RWMutex
	byOrg map[string]*channel.Trust
}

// Trust returns the trust document of an org, or nil.
func (s *State) Trust(org string) *channel.Trust {
	s.trusts.mu.RLock()
	defer s.trusts.mu.RUnlock()
	return s.trusts.byOrg[org]
}

// Trusts returns the trust documents, sorted by org.
func (s *State) Trusts() []*channel.Trust {
	t := &s.trusts
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*channel.Trust, 0, len(t.byOrg))
	for _, org := range slices.Sorted(maps.Keys(t.byOrg)) {
		list = append(list, t.byOrg[org])
	}
	return list
}

// Claiming returns the first trust document by org that claims the app, or nil.
func (s *State) Claiming(app string) *channel.Trust {
	for _, trust := range s.Trusts() {
		if trust.Apps(app) {
			return trust
		}
	}
	return nil
}

// Give adds the trust document that the node was given for an org, once per org. One that has expired is where its
// successor is reached from; [Endings] reports it.
func (s *State) Give(raw []byte) error {
	trust, err := channel.LoadTrust(raw)
	if err != nil {
		return fmt.Errorf("trust document: %w", err)
	}
	if s.Trust(trust.Org()) != nil {
		return fmt.Errorf("trust document: org %s is given twice", trust.Org())
	}
	s.setTrust(trust)
	return nil
}

func (s *State) setTrust(trust *channel.Trust) {
	t := &s.trusts
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byOrg == nil {
		t.byOrg = map[string]*channel.Trust{}
	}
	t.byOrg[trust.Org()] = trust
	s.changes.Add(1)
}
