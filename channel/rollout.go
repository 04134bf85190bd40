package channel

import (
	"encoding/binary"
	"reflect"
	"time"

	"brink/digest"
)

// Everyone is the share of a rollout that reaches all devices: shares count in hundredths of a per cent.
const Everyone = 10_000

// Rollout gives the release that a manifest serves to some devices only, or for some time only. All others get the
// release of the version From, or where [Manifest.BuiltIn] is set go back to what their native app came with.
//
// A device is in a rollout if its [Bucket] for the bundle is below Share: so raising Share only adds devices, lowering
// it only takes some out again, and every release begins with other devices. One without an ID is in a rollout to
// everyone only. A device that was taken out goes back to From.
type Rollout struct {
	Share  int       `json:"share"`            // 0 to Everyone
	From   string    `json:"from,omitempty"`   // a version of History; empty: the others stay, or see BuiltIn
	Paused bool      `json:"paused,omitempty"` // no device comes in; those that run the release keep it
	Starts time.Time `json:"starts,omitzero"`  // before it, nobody is in; zero: at once
	Ends   time.Time `json:"ends,omitzero"`    // from it on, nobody is in; zero: never

	unknown unknown
}

// Bucket returns where a device stands in the rollouts of a bundle: 0 to [Everyone]-1, evenly spread. It is the first
// eight bytes, big endian, of BLAKE3-256 over the digest of the bundle and the ID, modulo Everyone, and never changes.
func Bucket(id string, bundle digest.Digest) int {
	var room [digest.Size + MaxID]byte
	b := append(room[:0], bundle[:]...)
	b = append(b, id...)
	sum := digest.Sum(b)
	return int(binary.BigEndian.Uint64(sum[:8]) % Everyone)
}

// place says where a device stands in a rollout.
type place int

const (
	placeAll     place = iota // there is none: the release is for all
	placeBuiltIn              // there is none: devices go back to what their native app came with
	placeEarly                // it has not started
	placeLate                 // it has ended
	placeNoID                 // only some devices are in, and this one cannot be told from others
	placeOut                  // the device is not among the share
	placePaused               // it is, and came too late: the rollout is paused
	placeIn
)

// in reports whether the device gets the release that is rolled out.
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

// finished reports whether the rollout gives the release to all devices from now on, so that it could as well be
// completed.
func (r *Rollout) finished(now time.Time) bool {
	return r.Share == Everyone && !r.Paused && !now.Before(r.Starts) && r.Ends.IsZero()
}

// same reports whether two rollouts are to as many devices and at the same times.
func (r *Rollout) same(other Rollout) bool {
	other = other.clone()
	return r.Share == other.Share && r.Starts.Equal(other.Starts) && r.Ends.Equal(other.Ends)
}

// Roll returns the manifest that serves r to the devices of a rollout, and to all others what m serves, which may be
// what their native app came with; to.From is filled in.
//
// It returns and refuses what [Manifest.Publish] does, and refuses to begin before another rollout has reached all
// devices ([CodeRolloutRunning]). If that is the same one, of r to as many devices and at the same times, it returns
// [ErrUnchanged].
func (m *Manifest) Roll(r Release, to Rollout, now time.Time) (*Manifest, error) {
	if m.Rollout != nil && !m.Rollout.finished(now) {
		if r.Version == m.Release.Version && r.Bundle == m.Release.Bundle && m.Rollout.same(to) {
			return nil, ErrUnchanged
		}
		return nil, refuse(CodeRolloutRunning, "complete or abort it first",
			"channel %s is rolling out %s still", m.Channel, m.Release.Version)
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
	// Most devices stay on From, so what was taken back above it has to stay taken back.
	if CompareVersions(m.Withdrawn, to.From) > 0 {
		next.Withdrawn = m.Withdrawn
	}
	return checked(next, checkRollout(next))
}

// SetRollout returns the manifest that gives the release which m serves to the devices of to. If a rollout is under
// way, to takes its place, and others get what they got; to change some of it, start from *m.Rollout. If none is,
// others go back to the last release that was served and is lower, or stay as they are when there is none; devices that
// m sends to what their native app came with are sent there still.
//
// It returns [ErrUnchanged] if to is what m has, and refuses what is malformed.
func (m *Manifest) SetRollout(to Rollout, now time.Time) (*Manifest, error) {
	to = to.clone()
	if m.Rollout == nil {
		to.From = ""
		if i := before(m, ""); i >= 0 && !m.BuiltIn {
			to.From = m.History[i].Version
		}
	} else {
		to.From = m.Rollout.From
		if was := m.Rollout.clone(); reflect.DeepEqual(was, to) {
			return nil, ErrUnchanged
		}
	}
	next := m.next(now)
	next.Rollout = &to
	return checked(next, checkRollout(next))
}

// CompleteRollout returns the manifest that gives the release to all devices. It refuses if no rollout is under way
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

// endRollout leaves the manifest with one answer for all devices. What a rollback took back for those outside the
// rollout does not matter any more.
func endRollout(m *Manifest) {
	m.Rollout = nil
	if CompareVersions(m.Release.Version, m.Withdrawn) >= 0 {
		m.Withdrawn = ""
	}
}

// AbortRollout returns the manifest that takes the release back: a rollback to what all others got, which may be what
// their native app came with. It refuses if no rollout is under way ([CodeNoRollout]), and if the others got nothing
// ([CodeNotInHistory]).
func (m *Manifest) AbortRollout(now time.Time) (*Manifest, error) {
	if m.Rollout == nil {
		return nil, noRollout(m)
	}
	if m.BuiltIn {
		return m.Revert(now)
	}
	if m.Rollout.From == "" {
		return nil, refuse(CodeNotInHistory, "a rollout to 0 per cent keeps it from further devices",
			"channel %s served nothing below %s to go back to", m.Channel, m.Release.Version)
	}
	return m.RollBack(m.Rollout.From, now)
}

func noRollout(m *Manifest) error {
	if m.BuiltIn {
		return refuse(CodeNoRollout, "", "channel %s takes all devices back to what their native app came with", m.Channel)
	}
	return refuse(CodeNoRollout, "", "channel %s serves %s to all devices", m.Channel, m.Release.Version)
}

// MarshalJSON writes the fields and what UnmarshalJSON found beside them.
func (r Rollout) MarshalJSON() ([]byte, error) {
	type fields Rollout
	return encodeObject(fields(r), r.unknown)
}

// UnmarshalJSON reads a rollout and keeps the members that it does not know; it does not check the values.
func (r *Rollout) UnmarshalJSON(raw []byte) error {
	type fields Rollout
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Rollout(f)
	r.unknown = rest
	return err
}

// clone returns a copy that shares nothing that can change, with times as they are signed.
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
		return malformed("rollout ends %s, not after it starts %s",
			r.Ends.Format(time.RFC3339), r.Starts.Format(time.RFC3339))
	}
	if r.From == "" {
		return nil
	}
	if m.BuiltIn {
		return malformed("others get %s, and what their native app came with", r.From)
	}
	if m.release(r.From) == nil || CompareVersions(r.From, m.Release.Version) >= 0 {
		return malformed("rollout is from %q, want a lower version of the history", r.From)
	}
	return nil
}
