package force

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"brink/channel"
)

// trusts has the trust documents of the configured orgs. A later document replaces its predecessor; other orgs are
// never added.
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

// Claiming returns the first trust document, by name of the org, that claims the app, or nil.
func (s *State) Claiming(app string) *channel.Trust {
	for _, trust := range s.Trusts() {
		if trust.HasApp(app) {
			return trust
		}
	}
	return nil
}

// AddTrust adds the configured trust document of an org, once per org. An expired one is accepted, because its
// successor is verified with it; [Endings] reports it.
func (s *State) AddTrust(raw []byte) error {
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
