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

// Accounts says which org pays for which bundles: its channels name them, or, where no channel does, its intent let
// them in or is about to. Its methods read the store.
type Accounts struct {
	state *State
	store *store.Store
	now   func() time.Time

	mu sync.Mutex
	// reserved are bundles that were offered and may be on their way in.
	reserved map[digest.Digest]reservation
	// offered has the org of each bundle in the store that no channel names, "" for one that nobody pays for. It is made
	// each time from what was known and from the intents of the rest.
	offered map[digest.Digest]string
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

// reservationLife is how long an offered bundle counts before it is uploaded: as long as an upload waits for its
// chunks.
const reservationLife = 10 * time.Minute

// unnamedLife is how long a bundle that no channel names stays although its org has no room for another one: long
// enough for whoever has uploaded it to name it. Older ones give way, as they do when the store is full.
const unnamedLife = time.Hour

// charge returns what counts against the quota of an org: the bundles that its channels serve and remember by the size
// that they have, or are said to have while they are not here, and those that no channel names.
func (a *Accounts) charge(org string) (bundles map[digest.Digest]int64, unnamed []store.BundleInfo) {
	bundles = a.state.chargeNamed(org)
	for id := range bundles {
		if info, here := a.store.Info(id); here {
			bundles[id] = info.Size
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	offered := map[digest.Digest]string{}
	for info := range a.store.Bundles() {
		if a.state.IsNamed(info.ID) {
			continue
		}
		payer, known := a.offered[info.ID]
		if !known {
			payer = a.payer(info.ID)
		}
		if offered[info.ID] = payer; payer == org {
			bundles[info.ID] = info.Size
			unnamed = append(unnamed, info)
		}
	}
	a.offered = offered
	for id, r := range a.reserved {
		if a.now().After(r.until) {
			delete(a.reserved, id)
		} else if _, counted := bundles[id]; !counted && r.org == org {
			bundles[id] = r.size
		}
	}
	return bundles, unnamed
}

// payer returns the org that a bundle's intent names. Intents also come from other nodes, so it is checked, as of the
// time when it was made.
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

// chargeNamed returns the bundles that the channels of an org serve and remember, and how large they are said to be.
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

// Admit lets an org bring in a bundle of size bytes if its quota has room for it, and reserves that room while the
// upload may last, unless it is only asked whether it would. Bundles that no channel of the org names give way after a
// while.
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
		drop := a.giveWay(unnamed, over)
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

// reserves reports whether a bundle was offered lately.
func (a *Accounts) reserves(id digest.Digest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, reserved := a.reserved[id]
	return reserved
}

// giveWay returns the oldest bundles that together free so many bytes, and none if they do not.
func (a *Accounts) giveWay(unnamed []store.BundleInfo, over int64) (drop []digest.Digest) {
	slices.SortFunc(unnamed, func(a, b store.BundleInfo) int { return a.Created.Compare(b.Created) })
	for i := range unnamed {
		if over <= 0 {
			break
		}
		if a.now().Sub(unnamed[i].Created) < unnamedLife || a.reserves(unnamed[i].ID) {
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

// checkQuota refuses a manifest that names bundles which its org has not paid for and has no room for. One that
// names nothing new is never refused.
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

// total stays within half of what an int64 holds: what is not here yet may be said to have any size.
func total(bundles map[digest.Digest]int64) (sum int64) {
	for size := range maps.Values(bundles) {
		sum = min(sum+size, math.MaxInt64/2)
	}
	return sum
}

func overQuota(org string, quota, have int64) error {
	return serve.Problem(protocol.CodeQuota,
		fmt.Sprintf("org %s may hold %d bytes, and holds %d already", org, quota, have),
		"the org's root keys set its quota in the trust document")
}
