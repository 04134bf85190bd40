package channel

import (
	"errors"
	"slices"
	"time"

	"brink/digest"
)

// ErrUnchanged is returned when an operation would not change the channel, so that there is nothing to sign.
var ErrUnchanged = errors.New("the channel serves this already")

// Publish returns the manifest that follows m and serves r to all devices. It ends a rollout or a revert. The release
// that m serves moves to the front of History. Use [Manifest.Roll] to serve r to some devices first.
//
// It returns [ErrUnchanged] if m serves the version and bundle of r, unless m was reverted. It refuses a version that m
// or its history has with another bundle ([CodeVersionTaken]), and one that is below what m serves ([CodeDowngrade]). A
// version that was rolled back can be published again, with the same bundle.
func (m *Manifest) Publish(r Release, now time.Time) (*Manifest, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if m.Sequence == 0 {
		return m.serve(r, now), nil
	}
	for known := range m.Releases() {
		if CompareVersions(known.Version, r.Version) == 0 && (known.Version != r.Version || known.Bundle != r.Bundle) {
			return nil, refuse(CodeVersionTaken, "publish it under a higher version",
				"channel %s already has version %s, with bundle %s", m.Channel, known.Version, known.Bundle.Short())
		}
	}
	switch CompareVersions(r.Version, m.Release.Version) {
	case 0:
		if !m.Reverted() {
			return nil, ErrUnchanged
		}
	case -1:
		return nil, refuse(CodeDowngrade, "roll back, or publish a higher version",
			"version %s is below %s, which channel %s serves", r.Version, m.Release.Version, m.Channel)
	}
	return m.serve(r, now), nil
}

// RollBack returns the manifest that serves an earlier release in m's History again: the one with the version, or if
// version is empty, the most recent one that is lower than what m serves. It withdraws all versions above that one, up
// to what m serves: see [Manifest.Withdrawn].
//
// It ends a revert; the version may then also be that of m.Release. It returns [ErrUnchanged] if m serves the version,
// and refuses one that is not in History ([CodeNotInHistory]) or not below what m serves.
func (m *Manifest) RollBack(version string, now time.Time) (*Manifest, error) {
	if m.Sequence > 0 && version == m.Release.Version {
		return m.Publish(m.Release, now)
	}
	i := findEarlier(m, version)
	switch {
	case i < 0 && version == "":
		return nil, refuse(CodeNotInHistory, "", "channel %s has no lower version in its history", m.Channel)
	case i < 0:
		return nil, refuse(CodeNotInHistory, "name a version of the channel's history",
			"channel %s has no version %q in its history", m.Channel, version)
	case CompareVersions(m.History[i].Version, m.Release.Version) > 0:
		return nil, refuse(CodeNotInHistory, "publish it again",
			"version %s is above %s, which channel %s serves", version, m.Release.Version, m.Channel)
	}
	next := m.serve(m.History[i], now)
	next.Rollback = true
	next.Withdrawn = m.Release.Version
	if CompareVersions(m.Withdrawn, next.Withdrawn) > 0 {
		next.Withdrawn = m.Withdrawn
	}
	return next, nil
}

// Revert returns the manifest under which all devices go back to what their native app came with, except those to which
// an override gives a release. It ends a rollout. The next [Manifest.Publish], [Manifest.Promote] or
// [Manifest.RollBack] ends the revert; after [Manifest.Roll] it applies to the devices outside the rollout. It returns
// [ErrUnchanged] if m is reverted, and refuses a channel that serves nothing yet ([CodeNotInHistory]).
func (m *Manifest) Revert(now time.Time) (*Manifest, error) {
	if m.Sequence == 0 {
		return nil, refuse(CodeNotInHistory, "publish to it first", "channel %s serves nothing yet", m.Channel)
	}
	if m.Reverted() {
		return nil, ErrUnchanged
	}
	next := m.next(now)
	next.BuiltIn = true
	endRollout(next)
	return next, nil
}

// Reverted reports whether devices go back to what their native app came with, and there is no rollout.
func (m *Manifest) Reverted() bool { return m.BuiltIn && m.Rollout == nil }

// findEarlier returns the index in History of the release with the version, or if version is empty, of the most recent
// one that is lower than m's; -1 if there is none.
func findEarlier(m *Manifest, version string) int {
	return slices.IndexFunc(m.History, func(r Release) bool {
		return r.Version == version || version == "" && CompareVersions(r.Version, m.Release.Version) < 0
	})
}

// Promote is [Manifest.Publish] for the release that from serves. Both manifests must be of the same app.
func (m *Manifest) Promote(from *Manifest, now time.Time) (*Manifest, error) {
	if from.Org != m.Org {
		return nil, refuse(CodeWrongOrg, "", "cannot promote from org %s to %s", from.Org, m.Org)
	}
	if from.App != m.App {
		return nil, refuse(CodeWrongApp, "", "cannot promote from app %s to %s", from.App, m.App)
	}
	return m.Publish(from.Release, now)
}

// Amend returns the manifest with other properties of the release that it serves: limits, flags, link, comment or
// attachments. The version and the bundle must be the same.
func (m *Manifest) Amend(r Release, now time.Time) (*Manifest, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Version != m.Release.Version || r.Bundle != m.Release.Bundle {
		return nil, refuse(CodeVersionTaken, "publish it", "version %s with bundle %s is not what channel %s serves",
			r.Version, r.Bundle.Short(), m.Channel)
	}
	next := m.next(now)
	next.Release = r.clone()
	return next, nil
}

// serve returns the next manifest, which serves r instead of m.Release.
func (m *Manifest) serve(r Release, now time.Time) *Manifest {
	next := m.next(now)
	next.Rollout, next.BuiltIn = nil, false
	next.Release = r.clone()
	// Each version is in a manifest only once, so that a rollback to a version is unambiguous.
	next.History = slices.DeleteFunc(next.History, func(old Release) bool { return old.Version == r.Version })
	if m.Sequence > 0 && m.Release.Version != r.Version {
		next.History = slices.Insert(next.History, 0, m.Release.clone())
	}
	next.History = next.History[:min(len(next.History), MaxHistory)]
	next.Overrides = slices.DeleteFunc(next.Overrides, func(o Override) bool {
		return o.Version != "" && next.release(o.Version) == nil
	})
	if CompareVersions(r.Version, next.Withdrawn) >= 0 {
		next.Withdrawn = ""
	}
	return next
}

// next returns a copy of m as the next statement: unsigned, one sequence higher, issued now, not a rollback. If m
// expires, the copy has the same lifetime.
func (m *Manifest) next(now time.Time) *Manifest {
	next := *m
	next.raw, next.statement, next.renewed = nil, digest.Digest{}, nil
	next.unknown = m.unknown.clone()
	next.Previous = m.Published()
	next.Critical = slices.Clone(m.Critical)
	next.Sequence++
	next.Rollback = false
	next.Issued = now.UTC().Truncate(time.Second)
	if !m.Expires.IsZero() {
		next.Expires = next.Issued.Add(m.Expires.Sub(m.Issued))
	}
	next.Release = m.Release.clone()
	next.Rules = m.Rules.clone()
	if m.Rollout != nil {
		rollout := m.Rollout.clone()
		next.Rollout = &rollout
	}
	next.Overrides = slices.Clone(m.Overrides)
	for i := range next.Overrides {
		next.Overrides[i].unknown = next.Overrides[i].unknown.clone()
	}
	next.History = nil
	for i := range m.History {
		next.History = append(next.History, m.History[i].clone())
	}
	return &next
}

// checked returns next if err is nil, and otherwise nil and err.
func checked(next *Manifest, err error) (*Manifest, error) {
	if err != nil {
		return nil, err
	}
	return next, nil
}
