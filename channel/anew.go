package channel

import "time"

// Anew returns the manifest that serves r on a channel of org whose manifest m does not count any more, because a key
// that signed it was taken out of the trust document, or is gone. Nothing that m says is believed but its sequence,
// which devices have seen, and its version, which they may run: the new manifest has a higher sequence, and withdraws
// that version if r is below it. m.App and m.Channel must have been checked ([Manifest.CheckFor]).
func (m *Manifest) Anew(org string, r Release, now time.Time) (*Manifest, error) {
	next, err := NewManifest(org, m.App, m.Channel).Publish(r, now)
	if err != nil {
		return nil, err
	}
	next.Sequence = m.Sequence + 1
	if CompareVersions(m.Release.Version, r.Version) > 0 {
		next.Rollback, next.Withdrawn = true, m.Release.Version
	}
	return next, nil
}
