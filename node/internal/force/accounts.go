package force

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// Accounts charges bundles to orgs. A bundle that channels name is charged to their orgs; one that no channel names, to
// the org whose intent allowed its upload. Its methods read the store.
type Accounts struct {
	state *State
	store *store.Store
	now   func() time.Time

	mu sync.Mutex
	// reserved are bundles that were offered and may be being uploaded.
	reserved map[digest.Digest]reservation
	// unnamed caches the org of each bundle in the store that no channel names, "" if none is charged. Each call of
	// charge rebuilds it, and reads only the intents of bundles that it lacks.
	unnamed map[digest.Digest]string
}

// NewAccounts returns the accounts of all orgs.
func NewAccounts(state *State, store *store.Store, now func() time.Time) *Accounts {
	return &Accounts{state: state, store: store, now: now, reserved: map[digest.Digest]reservation{}}
}

type reservation struct {
	org   string
	size  int64
	until time.Time
}

// reservationLife is how long an offered bundle is charged before it is uploaded: as long as an upload waits for its
// chunks.
const reservationLife = 10 * time.Minute

// unnamedLife is how long a bundle that no channel names is kept even if its org has no room for another one: its
// publisher needs some time to name it in a manifest. Older ones are dropped, as they are when the store is full.
const unnamedLife = time.Hour

// charge returns the bundles that count against the quota of an org, with their sizes: those that its channels serve or
// have in their history, and those in unnamed, which no channel names. The size of a bundle that is not here is the one
// that manifests state.
func (a *Accounts) charge(org string) (bundles map[digest.Digest]int64, unnamed []store.BundleInfo) {
	bundles = a.state.chargeNamed(org)
	for id := range bundles {
		if info, here := a.store.Info(id); here {
			bundles[id] = info.Size
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	orgs := map[digest.Digest]string{}
	for info := range a.store.Bundles() {
		if a.state.IsNamed(info.ID) {
			continue
		}
		payer, known := a.unnamed[info.ID]
		if !known {
			payer = a.payer(info.ID)
		}
		if orgs[info.ID] = payer; payer == org {
			bundles[info.ID] = info.Size
			unnamed = append(unnamed, info)
		}
	}
	a.unnamed = orgs
	for id, r := range a.reserved {
		if a.now().After(r.until) {
			delete(a.reserved, id)
		} else if _, counted := bundles[id]; !counted && r.org == org {
			bundles[id] = r.size
		}
	}
	return bundles, unnamed
}

// payer returns the org that a bundle's intent names, or "". Intents also come from other nodes, so it verifies the
// intent, as of the time when it was issued.
func (a *Accounts) payer(id digest.Digest) string {
	raw, err := a.store.Intent(id)
	if err != nil {
		return ""
	}
	org, issued := claims(raw)
	trust := a.state.Trust(org)
	if trust == nil {
		return ""
	}
	if _, err := trust.VerifyIntent(raw, issued); err != nil {
		return ""
	}
	return org
}

// chargeNamed returns the bundles that the channels of an org serve or have in their history, with the sizes that
// manifests state.
func (s *State) chargeNamed(org string) map[digest.Digest]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	bundles := map[digest.Digest]int64{}
	for _, of := range s.byApp {
		for _, m := range of {
			if m.Org == org {
				chargeTo(bundles, m)
			}
		}
	}
	return bundles
}

// chargeTo adds the bundles of a manifest to those of its org.
func chargeTo(bundles map[digest.Digest]int64, m *channel.Manifest) {
	for r := range m.Releases() {
		bundles[r.Bundle] = max(bundles[r.Bundle], r.Size)
		for i := range r.Attachments {
			a := &r.Attachments[i]
			bundles[a.Bundle] = max(bundles[a.Bundle], a.Size)
		}
	}
}

// Admit returns nil if the quota of an org has room for a bundle of size bytes. With reserve, it reserves the room for
// the upload. To make room it drops bundles of the org that no channel has named for a while.
func (a *Accounts) Admit(
	ctx context.Context, trust *channel.Trust, id digest.Digest, size int64, reserve bool,
) error {
	quota, org := trust.Quota(), trust.Org()
	if quota <= 0 {
		return nil
	}
	bundles, unnamed := a.charge(org)
	if _, counted := bundles[id]; !counted {
		over := total(bundles) + size - quota
		drop := a.droppable(unnamed, over)
		if over > 0 && drop == nil {
			return overQuota(org, quota, total(bundles))
		}
		if err := a.store.Drop(ctx, drop...); err != nil {
			return err
		}
	}
	if !reserve {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved[id] = reservation{org: org, size: size, until: a.now().Add(reservationLife)}
	return nil
}

// isReserved reports whether a bundle was offered lately.
func (a *Accounts) isReserved(id digest.Digest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, reserved := a.reserved[id]
	return reserved
}

// droppable returns the oldest bundles that together free at least over bytes, or nil if they do not.
func (a *Accounts) droppable(unnamed []store.BundleInfo, over int64) (drop []digest.Digest) {
	slices.SortFunc(unnamed, func(a, b store.BundleInfo) int { return a.Created.Compare(b.Created) })
	for i := range unnamed {
		if over <= 0 {
			break
		}
		if a.now().Sub(unnamed[i].Created) < unnamedLife || a.isReserved(unnamed[i].ID) {
			continue
		}
		over -= unnamed[i].Size
		drop = append(drop, unnamed[i].ID)
	}
	if over > 0 {
		return nil
	}
	return drop
}

// checkQuota refuses a manifest that names bundles which are not charged to its org yet and exceed its quota. One that
// names no new bundles is never refused.
func (a *Accounts) checkQuota(m *channel.Manifest) error {
	trust := a.state.Trust(m.Org)
	if trust == nil || trust.Quota() <= 0 {
		return nil
	}
	bundles, _ := a.charge(m.Org)
	named := map[digest.Digest]int64{}
	chargeTo(named, m)
	var more int64
	for id, size := range named {
		if _, counted := bundles[id]; !counted {
			more += size
		}
	}
	if have := total(bundles); more > 0 && have+more > trust.Quota() {
		return overQuota(m.Org, trust.Quota(), have)
	}
	return nil
}

// total returns the sum, at most half of the largest int64: a manifest may state any size for a bundle that is not
// here.
func total(bundles map[digest.Digest]int64) (sum int64) {
	for size := range maps.Values(bundles) {
		sum = min(sum+size, math.MaxInt64/2)
	}
	return sum
}

func overQuota(org string, quota, have int64) error {
	return serve.Problem(protocol.CodeQuota,
		fmt.Sprintf("org %s is over its quota of %d bytes: %d are in use", org, quota, have),
		"the org's root keys set its quota in the trust document")
}
