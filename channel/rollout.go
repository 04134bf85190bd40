package channel

import (
	"encoding/binary"
	"reflect"
	"time"

	"brink/digest"
)

// Everyone is the share of a rollout to all devices: shares are in hundredths of a per cent.
const Everyone = 10_000

// Rollout limits the release of a manifest to some devices or to some time. The other devices get the release with the
// version From, or if [Manifest.BuiltIn] is set go back to what their native app came with.
//
// A device is in a rollout if its [Bucket] for the bundle is below Share. So raising Share only adds devices, lowering
// it only removes devices, and each release starts with other devices. A device without an ID is only in rollouts to
// everyone. A device that is removed goes back to From.
type Rollout struct {
	Share  int       `json:"share"`            // 0 to Everyone
	From   string    `json:"from,omitempty"`   // a version in History; empty: the others stay, or see BuiltIn
	Paused bool      `json:"paused,omitempty"` // no device is added; those that run the release stay in
	Starts time.Time `json:"starts,omitzero"`  // before it, no device is in; zero: at once
	Ends   time.Time `json:"ends,omitzero"`    // from then on, no device is in; zero: never

	unknown unknown
}

// Bucket returns the bucket of a device in the rollouts of a bundle: 0 to [Everyone]-1, evenly distributed. It is the
// first eight bytes, big endian, of BLAKE3-256 over the digest of the bundle and the ID, modulo Everyone, and never
// changes.
func Bucket(id string, bundle digest.Digest) int {
	var buffer [digest.Size + MaxID]byte
	b := append(buffer[:0], bundle[:]...)
	b = append(b, id...)
	sum := digest.Sum(b)
	return int(binary.BigEndian.Uint64(sum[:8]) % Everyone)
}

// place is the relation of a device to a rollout.
type place int

const (
	placeAll     place = iota // there is no rollout: the release is for all
	placeBuiltIn              // there is no rollout: devices go back to what their native app came with
	placeEarly                // the rollout has not started
	placeLate                 // the rollout has ended
	placeNoID                 // only some devices are in, and the device has no ID
	placeOut                  // the device is not in the share
	placePaused               // the device is in the share, but was not in before the rollout was paused
	placeIn
)

// in reports whether the device gets the release that is served.
func (p place) in() bool { return p == placeAll || p == placeIn }

func (m *Manifest) place(d Device, now time.Time) place {
	r := m.Rollout
	switch {
	case r == nil && m.BuiltIn:
		return placeBuiltIn
	case r == nil:
		return placeAll
	case now.Before(r.Starts):
		return placeEarly
	case expired(r.Ends, now):
		return placeLate
	case r.Share < Everyone && d.ID == "":
		return placeNoID
	case r.Share < Everyone && Bucket(d.ID, m.Release.Bundle) >= r.Share:
		return placeOut
	case r.Paused && !m.Release.runsOn(d):
		return placePaused
	default:
		return placeIn
	}
}

// finished reports whether the rollout has reached all devices for good, so that completing it would change nothing.
func (r *Rollout) finished(now time.Time) bool {
	return r.Share == Everyone && !r.Paused && !now.Before(r.Starts) && r.Ends.IsZero()
}

// same reports whether two rollouts have the same share and times.
func (r *Rollout) same(other Rollout) bool {
	other = other.clone()
	return r.Share == other.Share && r.Starts.Equal(other.Starts) && r.Ends.Equal(other.Ends)
}

// Roll returns the manifest that serves r to the devices of a rollout, and to all others what m serves, which may be
// what their native app came with. It sets From of the rollout.
//
// It is like [Manifest.Publish], but also refuses to start a rollout before another one has reached all devices
// ([CodeRolloutRunning]). If that is a rollout of r with the same share and times, it returns [ErrUnchanged].
func (m *Manifest) Roll(r Release, to Rollout, now time.Time) (*Manifest, error) {
	if m.Rollout != nil && !m.Rollout.finished(now) {
		if r.Version == m.Release.Version && r.Bundle == m.Release.Bundle && m.Rollout.same(to) {
			return nil, ErrUnchanged
		}
		return nil, refuse(CodeRolloutRunning, "complete or abort it first",
			"channel %s is still rolling out %s", m.Channel, m.Release.Version)
	}
	next, err := m.Publish(r, now)
	if err != nil {
		return nil, err
	}
	to = to.clone()
	next.Rollout = &to
	if m.Reverted() {
		to.From, next.BuiltIn = "", true
		return checked(next, checkRollout(next))
	}
	to.From = m.Release.Version
	// Most devices stay on From, so what was withdrawn above it must stay withdrawn.
	if CompareVersions(m.Withdrawn, to.From) > 0 {
		next.Withdrawn = m.Withdrawn
	}
	return checked(next, checkRollout(next))
}

// SetRollout returns the manifest that serves the release of m to the devices of to only. It replaces the rollout of m,
// if there is one, and the other devices get the same as before; to change parts of it, start from *m.Rollout.
// Otherwise the other devices go back to the most recent lower release in History, or stay if there is none; if m is
// reverted, they still go back to what their native app came with.
//
// It returns [ErrUnchanged] if m has the same rollout, and refuses a malformed one.
func (m *Manifest) SetRollout(to Rollout, now time.Time) (*Manifest, error) {
	to = to.clone()
	if m.Rollout == nil {
		to.From = ""
		if i := findEarlier(m, ""); i >= 0 && !m.BuiltIn {
			to.From = m.History[i].Version
		}
	} else {
		to.From = m.Rollout.From
		if current := m.Rollout.clone(); reflect.DeepEqual(current, to) {
			return nil, ErrUnchanged
		}
	}
	next := m.next(now)
	next.Rollout = &to
	return checked(next, checkRollout(next))
}

// CompleteRollout returns the manifest that serves the release to all devices. It refuses if m has no rollout
// ([CodeNoRollout]).
func (m *Manifest) CompleteRollout(now time.Time) (*Manifest, error) {
	if m.Rollout == nil {
		return nil, noRollout(m)
	}
	next := m.next(now)
	next.BuiltIn = false
	endRollout(next)
	return next, nil
}

// endRollout removes the rollout from the manifest. Versions up to the release are then no longer withdrawn: they were
// withdrawn for devices outside the rollout.
func endRollout(m *Manifest) {
	m.Rollout = nil
	if CompareVersions(m.Release.Version, m.Withdrawn) >= 0 {
		m.Withdrawn = ""
	}
}

// AbortRollout returns the manifest that rolls all devices back to what those outside the rollout get, which may be
// what their native app came with. It refuses if m has no rollout ([CodeNoRollout]), or if the other devices get
// nothing ([CodeNotInHistory]).
func (m *Manifest) AbortRollout(now time.Time) (*Manifest, error) {
	if m.Rollout == nil {
		return nil, noRollout(m)
	}
	if m.BuiltIn {
		return m.Revert(now)
	}
	if m.Rollout.From == "" {
		return nil, refuse(CodeNotInHistory, "set the rollout to 0 per cent, so that no more devices get it",
			"channel %s has no version below %s to roll back to", m.Channel, m.Release.Version)
	}
	return m.RollBack(m.Rollout.From, now)
}

func noRollout(m *Manifest) error {
	if m.BuiltIn {
		return refuse(CodeNoRollout, "",
			"channel %s has no rollout: it returns all devices to what their native app came with", m.Channel)
	}
	return refuse(CodeNoRollout, "",
		"channel %s has no rollout: it serves %s to all devices", m.Channel, m.Release.Version)
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (r Rollout) MarshalJSON() ([]byte, error) {
	type fields Rollout
	return encodeObject(fields(r), r.unknown)
}

// UnmarshalJSON decodes a rollout, with the members that this version does not know. It does not check the values.
func (r *Rollout) UnmarshalJSON(raw []byte) error {
	type fields Rollout
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Rollout(f)
	r.unknown = rest
	return err
}

// clone returns a deep copy, with the times as they are signed: in UTC and whole seconds.
func (r *Rollout) clone() Rollout {
	c := *r
	c.Starts, c.Ends = r.Starts.UTC().Truncate(time.Second), r.Ends.UTC().Truncate(time.Second)
	c.unknown = r.unknown.clone()
	return c
}

// checkRollout checks the rollout against the releases of its manifest.
func checkRollout(m *Manifest) error {
	r := m.Rollout
	if r == nil {
		return nil
	}
	if r.Share < 0 || r.Share > Everyone {
		return malformed("share of the rollout is %d, want 0 to %d", r.Share, Everyone)
	}
	if !r.Starts.IsZero() && !r.Ends.IsZero() && !r.Ends.After(r.Starts) {
		return malformed("rollout ends at %s, which is not after its start at %s",
			r.Ends.Format(time.RFC3339), r.Starts.Format(time.RFC3339))
	}
	if r.From == "" {
		return nil
	}
	if m.BuiltIn {
		return malformed("rollout is from %q, want none: the others get what their native app came with", r.From)
	}
	if m.release(r.From) == nil || CompareVersions(r.From, m.Release.Version) >= 0 {
		return malformed("rollout is from %q, want a lower version that is in the history", r.From)
	}
	return nil
}
