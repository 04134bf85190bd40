package force

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/origin"
	"brink/protocol"
)

// State is what is in force: the channel manifests of all apps, and the trust documents that allow them. It is in
// memory, and only a [Door] changes it. Its methods do not block, and may be called concurrently.
type State struct {
	changes atomic.Uint64 // of anything that is in force

	mu sync.RWMutex // guards the maps
	// byApp has the manifests of each app, sorted by channel. A list is never changed, but replaced by another one, so
	// that readers need no copy.
	byApp map[string][]*channel.Manifest
	// lapsed has manifests, by app and channel, that were in force and that the trust documents no longer allow.
	// Publishers see them, because they have to know the sequence; devices do not.
	lapsed map[string]*channel.Manifest
	// named has the bundles that manifests in force, or about to be in force, name.
	named names

	trusts trusts
}

// NewState returns a state without channels and orgs.
func NewState() *State {
	return &State{
		byApp:  map[string][]*channel.Manifest{},
		lapsed: map[string]*channel.Manifest{},
		named:  newNames(),
	}
}

// Manifest returns the manifest of a channel that is in force, or nil.
func (s *State) Manifest(app, name string) *channel.Manifest {
	list := s.Of(app)
	if i, found := search(list, name); found {
		return list[i]
	}
	return nil
}

// search returns where the channel's manifest is in the sorted list, or would be.
func search(list []*channel.Manifest, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(m *channel.Manifest, name string) int {
		return strings.Compare(m.Channel, name)
	})
}

// Current returns the manifest of a channel that the next one has to follow: the one in force, or one that has lapsed,
// or nil.
func (s *State) Current(app, name string) (m *channel.Manifest, lapsed bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, found := search(s.byApp[app], name); found {
		return s.byApp[app][i], false
	}
	m = s.lapsed[app+"/"+name]
	return m, m != nil
}

// Require returns the manifest of a channel that is in force, or a problem that says what is missing.
func (s *State) Require(app, name string) (*channel.Manifest, error) {
	m := s.Manifest(app, name)
	if m != nil {
		return m, nil
	}
	if _, err := s.Owner(app); err != nil {
		return nil, err
	}
	hint := "publish to it first"
	if list := s.Of(app); len(list) > 0 {
		names := make([]string, len(list))
		for i, one := range list {
			names[i] = one.Channel
		}
		hint = "its channels are: " + strings.Join(names, ", ")
	}
	return nil, serve.Problem(protocol.CodeUnknownChannel,
		fmt.Sprintf("nothing was published to channel %q of %s", name, app), hint)
}

// Of returns the manifests in force of an app, sorted by channel. The caller must not change the list.
func (s *State) Of(app string) []*channel.Manifest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byApp[app]
}

// Has reports whether the app has a channel in force. A trust document may claim any app; an app exists only once it
// has been published by a key that may.
func (s *State) Has(app string) bool { return len(s.Of(app)) > 0 }

// HasVersion reports whether a channel of the app serves or has served the version. It does not allocate.
func (s *State) HasVersion(app, version string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, m := range s.byApp[app] {
		if m.Release.Version == version {
			return true
		}
		for i := range m.History {
			if m.History[i].Version == version {
				return true
			}
		}
	}
	return false
}

// Apps returns the apps that have a channel in force, sorted.
func (s *State) Apps() (names []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for app := range s.byApp {
		names = append(names, app)
	}
	slices.Sort(names)
	return names
}

// Each calls do with every manifest in force, in no order.
func (s *State) Each(do func(*channel.Manifest)) {
	s.mu.RLock()
	list := make([]*channel.Manifest, 0, len(s.byApp))
	for _, of := range s.byApp {
		list = append(list, of...)
	}
	s.mu.RUnlock()
	for _, m := range list {
		do(m)
	}
}

// Count returns how many channels are in force, and how many have lapsed.
func (s *State) Count() (inForce, lapsed int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, of := range s.byApp {
		inForce += len(of)
	}
	return inForce, len(s.lapsed)
}

// Owner returns the trust document of the org that the app belongs to. If several claim it, that is the one that has
// published it, or if none has, the first by name.
func (s *State) Owner(app string) (*channel.Trust, error) {
	if list := s.Of(app); len(list) > 0 {
		if trust := s.Trust(list[0].Org); trust != nil {
			return trust, nil
		}
	}
	if trust := s.Claiming(app); trust != nil {
		return trust, nil
	}
	return nil, serve.Problem(protocol.CodeUnknownApp, fmt.Sprintf("no org of this node claims the app %q", app),
		"start the node with a trust document whose app patterns match it")
}

// lapse records a manifest that is no longer allowed, and removes that of its channel from those in force.
func (s *State) lapse(m *channel.Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.Add(1)
	s.lapsed[m.App+"/"+m.Channel] = m
	if i, found := search(s.byApp[m.App], m.Channel); found {
		s.named.add(s.byApp[m.App][i], -1)
		if list := slices.Delete(slices.Clone(s.byApp[m.App]), i, i+1); len(list) > 0 {
			s.byApp[m.App] = list
		} else {
			delete(s.byApp, m.App)
		}
	}
}

// set brings a manifest into force, unless a later one is in force.
func (s *State) set(m *channel.Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.Add(1)
	list := slices.Clone(s.byApp[m.App])
	switch i, found := search(list, m.Channel); {
	case !found:
		list = slices.Insert(list, i, m)
	case list[i].Order() > m.Order():
		return
	default:
		s.named.add(list[i], -1)
		list[i] = m
	}
	s.byApp[m.App] = list
	delete(s.lapsed, m.App+"/"+m.Channel)
	s.named.add(m, +1)
}

// Expect makes the bundles of a manifest count as named before it is in force, so that they can be fetched and
// representations built. The caller calls end once the manifest is in force or was refused.
func (s *State) Expect(m *channel.Manifest) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named.add(m, +1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.named.add(m, -1)
	}
}

// IsNamed reports whether a manifest in force, or about to be, names the bundle. Other bundles are not worth fetching.
func (s *State) IsNamed(id digest.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.named.byBundle[id]) > 0
}

// Indexes returns the descriptions of a bundle's index in manifests.
func (s *State) Indexes(id digest.Digest) (list []origin.Signed) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.named.byBundle[id] {
		d := &s.named.byBundle[id][i].description
		list = append(list, origin.Signed{Index: d.index, IndexSize: d.indexSize, Size: d.size})
	}
	return list
}

// Base returns the bundle whose archive has the SHA-256 name, as the base of a patch to the archive of target. It has
// to be named by manifests of an app whose devices get target.
func (s *State) Base(target digest.Digest, name digest.SHA256) (id digest.Digest, size int64, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.named.byBundle[target] {
		to := &s.named.byBundle[target][i]
		if to.given == 0 || !to.isRelease() {
			continue
		}
		for _, id := range s.named.bases[baseKey{to.tenant, name}] {
			for _, from := range s.named.byBundle[id] {
				if from.tenant == to.tenant && from.sha256 == name {
					return id, from.size, true
				}
			}
		}
	}
	return id, 0, false
}

// Serving returns the manifests in force that serve the bundle as a release, or have it in their history.
func (s *State) Serving(id digest.Digest) (list []*channel.Manifest) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var seen []tenant
	for i := range s.named.byBundle[id] {
		of := s.named.byBundle[id][i].tenant
		if slices.Contains(seen, of) {
			continue
		}
		seen = append(seen, of)
		for _, m := range s.byApp[of.app] {
			if m.Org != of.org {
				continue
			}
			for release := range m.Releases() {
				if release.Bundle == id {
					list = append(list, m)
					break
				}
			}
		}
	}
	return list
}
