package channel

import "time"

// Anew returns the manifest that serves r on a channel whose manifest m does not count any more, because a key that
// signed it was taken out of t, its epoch has ended ([Epoch]), or it is gone. Nothing that m says is believed but its
// sequence, which devices have seen, and its version, which they may run: the new manifest has a higher sequence of the
// channel's epoch, and withdraws that version if r is below it. m.App and m.Channel must have been checked
// ([Manifest.CheckFor]).
func (m *Manifest) Anew(t *Trust, r Release, now time.Time) (*Manifest, error) {
	next, err := NewManifest(t.Org(), m.App, m.Channel).Publish(r, now)
	if err != nil {
		return nil, err
	}
	next.Previous = m.Published()
	next.Sequence = t.FirstSequence(m.App, m.Channel)
	if EpochOf(m.Sequence) == EpochOf(next.Sequence) {
		next.Sequence = m.Sequence + 1
	}
	if CompareVersions(m.Release.Version, r.Version) > 0 {
		next.Rollback, next.Withdrawn = true, m.Release.Version
	}
	return next, nil
}
