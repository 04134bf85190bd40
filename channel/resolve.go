package channel

import (
	"time"

	"brink/digest"
)

// Device is what a device says about itself when it asks for an update. What it leaves out is zero.
type Device struct {
	ID       string
	Platform Platform
	Native   string        // version of the native app, semver; 1 and 1.2 count as 1.0.0 and 1.2.0
	Version  string        // version of the release it runs; empty or no semver: unknown, and below every release
	Bundle   digest.Digest // what it runs, zero if it does not know
}

// Kind is what a device has to do.
type Kind string

// The kinds of decisions.
const (
	UpToDate Kind = "up_to_date" // it runs what the channel serves
	Update   Kind = "update"     // go to Decision.Release
	Rollback Kind = "rollback"   // go to Decision.Release, which is a lower version
	None     Kind = "none"       // stay: Decision.Reason says why
)

// Reason says why a device gets nothing. Reasons appear in HTTP answers and never change their meaning.
type Reason string

// The reasons of a decision of kind None.
const (
	// ReasonExpired: the manifest was good until a time that has passed, so nothing is known about now.
	ReasonExpired Reason = "expired"
	// ReasonNativeTooOld: the release wants a newer native app.
	ReasonNativeTooOld Reason = "native_too_old"
	// ReasonNativeTooNew: the release wants an older native app.
	ReasonNativeTooNew Reason = "native_too_new"
	// ReasonNativeUnknown: the release has limits for the platform, and the device's native version is no semver.
	ReasonNativeUnknown Reason = "native_unknown"
	// ReasonAhead: the device runs a higher version than the channel serves, and no rollback took it back.
	ReasonAhead Reason = "ahead"
)

// Decision is what a device gets. Release is set for an update and a rollback only; it belongs to the manifest, and the
// caller must not change it.
type Decision struct {
	Kind    Kind
	Reason  Reason
	Release *Release
}

// Resolve decides what a device gets from the manifest in force. It is pure and does not allocate: the same manifest,
// device and time give the same decision on every node. It agrees with [State.Accept]: no device is sent where it would
// refuse to go.
func Resolve(m *Manifest, d Device, now time.Time) Decision {
	r := &m.Release
	switch {
	case expired(m.Expires, now):
		return Decision{Kind: None, Reason: ReasonExpired}
	case r.runsOn(d):
		return Decision{Kind: UpToDate}
	}
	if reason := r.Native[d.Platform].reason(d.Native); reason != "" {
		return Decision{Kind: None, Reason: reason}
	}
	switch m.move(d.Version) {
	case moveUp:
		return Decision{Kind: Update, Release: r}
	case moveDown:
		return Decision{Kind: Rollback, Release: r}
	default:
		return Decision{Kind: None, Reason: ReasonAhead}
	}
}

// runsOn reports whether the device runs r. The bundle decides; the version only where the bundle is not known.
func (r *Release) runsOn(d Device) bool {
	if d.Bundle.IsZero() {
		return d.Version == r.Version
	}
	return d.Bundle == r.Bundle
}

// reason says why a native version is outside the limits, and "" if it is within.
func (l Limit) reason(native string) Reason {
	switch {
	case l.Min == "" && l.Max == "":
		return ""
	case CompareVersions(native, "") <= 0:
		return ReasonNativeUnknown
	case l.Min != "" && CompareVersions(native, l.Min) < 0:
		return ReasonNativeTooOld
	case l.Max != "" && CompareVersions(native, l.Max) > 0:
		return ReasonNativeTooNew
	default:
		return ""
	}
}
