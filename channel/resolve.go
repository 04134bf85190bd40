package channel

import (
	"time"

	"brink/digest"
)

// Device is what a device says about itself when it asks for an update. What it leaves out is zero: so one that says
// nothing is a real device with a production build.
type Device struct {
	ID          string // the same for as long as the app is installed; empty: it cannot be told from others
	Custom      string // an ID that the app gave it, which several devices may share
	Platform    Platform
	Native      string        // version of the native app, semver; 1 and 1.2 count as 1.0.0 and 1.2.0
	Version     string        // version of the release it runs; empty or no semver: unknown, and below every release
	Bundle      digest.Digest // what it runs, zero if it does not know
	BuiltIn     bool          // it runs what its native app came with
	Emulator    bool          // it is an emulator or a simulator
	Development bool          // its native app is a development build
}

// Kind is what a device has to do.
type Kind string

// The kinds of decisions.
const (
	UpToDate Kind = "up_to_date" // it runs what the channel serves to it
	Update   Kind = "update"     // go to Decision.Release
	Rollback Kind = "rollback"   // go to Decision.Release, which is a lower version
	BuiltIn  Kind = "built_in"   // go back to what the native app came with
	None     Kind = "none"       // stay: Decision.Reason says why
)

// Reason says why a device gets nothing. Reasons appear in HTTP answers and never change their meaning.
type Reason string

// The reasons of a decision of kind None.
const (
	// ReasonNeedsUpdate: the manifest has a critical member that this version does not know ([Manifest.Critical]).
	ReasonNeedsUpdate Reason = "needs_update"
	// ReasonExpired: the manifest was good until a time that has passed, so nothing is known about now.
	ReasonExpired Reason = "expired"
	// ReasonNotInRollout: the release is rolled out to other devices, and there is none before it for this one.
	ReasonNotInRollout Reason = "not_in_rollout"

	// ReasonPrivate: the channel is for devices that an override names, and none names this one.
	ReasonPrivate Reason = "private_channel"
	// ReasonPlatform: the channel is for other platforms.
	ReasonPlatform Reason = "platform_not_allowed"
	// ReasonEmulator: the channel is not for emulators.
	ReasonEmulator Reason = "emulator_not_allowed"
	// ReasonDevice: the channel is for emulators only.
	ReasonDevice Reason = "device_not_allowed"
	// ReasonDevelopment: the channel is not for development builds of the native app.
	ReasonDevelopment Reason = "development_not_allowed"
	// ReasonProduction: the channel is for development builds of the native app only.
	ReasonProduction Reason = "production_not_allowed"

	// ReasonNativeTooOld: the release wants a newer native app.
	ReasonNativeTooOld Reason = "native_too_old"
	// ReasonNativeTooNew: the release wants an older native app.
	ReasonNativeTooNew Reason = "native_too_new"
	// ReasonNativeUnknown: the native version decides, and the one that the device tells is no semver.
	ReasonNativeUnknown Reason = "native_unknown"
	// ReasonUnderNative: the release is below the version of the native app, and the channel does not go there.
	ReasonUnderNative Reason = "under_native"

	// ReasonAhead: the device runs a higher version than the channel serves to it, and nothing took that one back.
	ReasonAhead Reason = "ahead"
	// ReasonStep: the release is a larger step from what the device runs than the channel takes; with StepNumber, the
	// native app is below Rules.MinNative.
	ReasonStep Reason = "step_too_large"
	// ReasonMisconfigured: the rules say StepNumber, and not from which version of the native app on.
	ReasonMisconfigured Reason = "misconfigured_channel"
	// ReasonVersionUnknown: the channel bounds the steps, and neither version that the device tells is semver.
	ReasonVersionUnknown Reason = "version_unknown"
)

// Decision is what a device gets. Release is set for an update and a rollback only; it belongs to the manifest, and the
// caller must not change it. Reason is set for None only.
type Decision struct {
	Kind    Kind
	Reason  Reason
	Release *Release
}

// Resolve decides what a device gets from the manifest in force. It is pure: the same manifest, device and time give
// the same decision on every node. It does not allocate, unless the ID of the device is longer than [MaxID]. It agrees
// with [State.Accept]: no device is sent where it would refuse to go. [Explain] tells how it came to the decision.
func Resolve(m *Manifest, d Device, now time.Time) Decision {
	q := question{m: m, device: d, now: now}
	return q.decide()
}

// ResolveLast is Resolve for devices that check no signature, such as browsers and the plugins of other services: it
// decides as if the manifest never expired. Expiry protects those who check it; the others would only lose their app.
func ResolveLast(m *Manifest, d Device, now time.Time) Decision {
	q := question{m: m, device: d, now: now, last: true}
	return q.decide()
}

func (q *question) decide() Decision {
	for r := ruleCritical; ; r++ {
		if decision, decided := q.apply(r); decided {
			return decision
		}
	}
}

// rule is one part of a decision. They are applied in this order until one decides; the last one always does.
type rule int

const (
	ruleCritical  rule = iota // are all critical members of the manifest known?
	ruleExpiry                // is the manifest good still?
	ruleOverride              // does it name the device?
	ruleRollout               // what is for the device: which release, or what its native app came with?
	ruleInstalled             // does it run that?
	ruleAudience              // is the channel for the device?
	ruleNative                // can its native app run the release?
	ruleDirection             // may it go there from what it runs?
	ruleStep                  // is it a step that the channel takes?
)

// question is one decision on its way.
type question struct {
	m      *Manifest
	device Device
	now    time.Time
	last   bool // the manifest is taken for good even if it has expired

	named  *Override // the override that names the device; nil: none
	place  place     // in the rollout, if none names it
	target *Release  // what is for the device; nil: nothing, or what its native app came with

	builtIn bool // what its native app came with is for the device
}

// apply applies one rule, after all those before it, and reports whether it has decided.
func (q *question) apply(r rule) (Decision, bool) {
	m, d := q.m, &q.device
	switch r {
	case ruleCritical:
		if m.unknownCritical() != "" {
			return stay(ReasonNeedsUpdate)
		}
	case ruleExpiry:
		if expired(m.Expires, q.now) && !q.last {
			return stay(ReasonExpired)
		}
	case ruleOverride:
		q.named = m.override(d)
	case ruleRollout:
		if q.target, q.builtIn = q.meant(); q.target == nil && !q.builtIn {
			return stay(ReasonNotInRollout)
		}
	case ruleInstalled:
		if q.builtIn {
			return Decision{Kind: UpToDate}, d.BuiltIn
		}
		return Decision{Kind: UpToDate}, q.target.runsOn(*d)
	case ruleAudience:
		if q.named == nil {
			return stay(m.Rules.audience(*d))
		}
	case ruleNative:
		if q.builtIn {
			return Decision{}, false
		}
		reason := q.target.Native[d.Platform].reason(d.Native)
		if reason == "" && q.named == nil {
			reason = m.Rules.underNative(q.target.Version, d.Native)
		}
		return stay(reason)
	case ruleDirection:
		switch {
		case m.move(d.Version) == moveNone: // the device refuses the manifest as a whole
			return stay(ReasonAhead)
		case q.builtIn:
			return Decision{Kind: BuiltIn}, true
		case CompareVersions(q.target.Version, d.Version) >= 0:
		case q.mayGoDown():
			return Decision{Kind: Rollback, Release: q.target}, true
		default:
			return stay(ReasonAhead)
		}
	case ruleStep:
		if q.named == nil {
			if reason := m.Rules.step(q.target.Version, *d); reason != "" {
				return stay(reason)
			}
		}
		return Decision{Kind: Update, Release: q.target}, true
	}
	return Decision{}, false
}

// stay returns the decision to stay, if there is a reason to.
func stay(reason Reason) (Decision, bool) {
	return Decision{Kind: None, Reason: reason}, reason != ""
}

// meant returns what is meant for the device: a release, or what its native app came with, or neither.
func (q *question) meant() (release *Release, builtIn bool) {
	m := q.m
	if o := q.named; o != nil {
		switch {
		case o.BuiltIn, o.Version == "" && m.Reverted():
			return nil, true
		case o.Version == "":
			return &m.Release, false
		default:
			return m.release(o.Version), false
		}
	}
	switch q.place = m.place(q.device, q.now); {
	case q.place.in():
		return &m.Release, false
	case m.BuiltIn:
		return nil, true
	default:
		return m.release(m.Rollout.From), false
	}
}

// mayGoDown reports whether the manifest says that the device should leave what it runs for a lower version: a rollback
// took it back, an override names the device, or the rollout gives to others what the device runs. In the last case the
// device must run a release of this very channel. One that has a version of its own between the two keeps it, such as
// an app that came from the store with newer files than the channel has.
func (q *question) mayGoDown() bool {
	m, d := q.m, &q.device
	if q.named != nil || CompareVersions(d.Version, m.Withdrawn) <= 0 {
		return true
	}
	if m.Release.runsOn(*d) {
		return true
	}
	for i := range m.History {
		if m.History[i].runsOn(*d) {
			return true
		}
	}
	return false
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
	case !known(native):
		return ReasonNativeUnknown
	case l.Min != "" && CompareVersions(native, l.Min) < 0:
		return ReasonNativeTooOld
	case l.Max != "" && CompareVersions(native, l.Max) > 0:
		return ReasonNativeTooNew
	default:
		return ""
	}
}
