package channel

import "time"

// Restart returns a manifest that serves r on a channel whose manifest m is not valid any more, because a key that
// signed it was removed from t or its epoch has ended ([Epoch]), or is lost. It uses only the sequence of m, which
// devices have seen, and its version, which they may run: the new manifest has a higher sequence in the channel's
// epoch, and withdraws that version if r is below it. The caller must have checked m.App and m.Channel
// ([Manifest.CheckFor]).
func (m *Manifest) Restart(t *Trust, r Release, now time.Time) (*Manifest, error) {
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
