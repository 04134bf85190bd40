package channel

import (
	"time"

	"brink/digest"
)

// Device is what a device reports about itself when it asks for an update. The zero value of a field means that it did
// not report it: a device that reports nothing is a real device with a production build.
type Device struct {
	ID          string // constant while the app is installed; empty: unknown
	Custom      string // an ID given by the app, which several devices may share
	Platform    Platform
	Native      string        // version of the native app, semver; 1 and 1.2 mean 1.0.0 and 1.2.0
	Version     string        // of the release it runs; empty or not semver: unknown, and below every release
	Bundle      digest.Digest // that it runs; zero: unknown
	BuiltIn     bool          // it runs what its native app came with
	Emulator    bool          // it is an emulator or a simulator
	Development bool          // its native app is a development build
}

// Kind is what a device has to do.
type Kind string

// The kinds of decisions.
const (
	UpToDate Kind = "up_to_date" // the device runs what the channel serves to it
	Update   Kind = "update"     // move to Decision.Release
	Rollback Kind = "rollback"   // move to Decision.Release, which has a lower version
	BuiltIn  Kind = "built_in"   // go back to what the native app came with
	None     Kind = "none"       // stay, for Decision.Reason
)

// Reason is why a device gets nothing. Reasons appear in HTTP answers, and their meaning never changes.
type Reason string

// The reasons of a decision of kind None.
const (
	// ReasonNeedsUpdate: the manifest has a critical member that this version does not know ([Manifest.Critical]).
	ReasonNeedsUpdate Reason = "needs_update"
	// ReasonExpired: the manifest has expired, so what the channel serves now is unknown.
	ReasonExpired Reason = "expired"
	// ReasonNotInRollout: the release is rolled out to other devices, and there is no earlier one for this device.
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

	// ReasonNativeTooOld: the release requires a newer native app.
	ReasonNativeTooOld Reason = "native_too_old"
	// ReasonNativeTooNew: the release requires an older native app.
	ReasonNativeTooNew Reason = "native_too_new"
	// ReasonNativeUnknown: the decision depends on the native version, and the device reported none that is semver.
	ReasonNativeUnknown Reason = "native_unknown"
	// ReasonUnderNative: the release is below the version of the native app, which the channel does not allow.
	ReasonUnderNative Reason = "under_native"

	// ReasonAhead: the device runs a higher version than the channel serves to it, and nothing withdrew that version.
	ReasonAhead Reason = "ahead"
	// ReasonStep: the release is a larger step from what the device runs than the channel allows; with StepNumber, the
	// native app is below Rules.MinNative.
	ReasonStep Reason = "step_too_large"
	// ReasonMisconfigured: the rules have StepNumber, but no MinNative.
	ReasonMisconfigured Reason = "misconfigured_channel"
	// ReasonVersionUnknown: the channel limits the steps, and neither version that the device reported is semver.
	ReasonVersionUnknown Reason = "version_unknown"
)

// Decision is what a device gets. Release is set only for an update and a rollback; it belongs to the manifest, and the
// caller must not change it. Reason is set only for None.
type Decision struct {
	Kind    Kind
	Reason  Reason
	Release *Release
}

// Resolve decides what a device gets from the manifest in force. It is pure: the same manifest, device and time give
// the same decision on every node. It does not allocate, unless the ID of the device is longer than [MaxID]. It is
// consistent with [State.Accept]: a device does not get what it would refuse. [Explain] also returns the reasons.
func Resolve(m *Manifest, d Device, now time.Time) Decision {
	q := question{m: m, device: d, now: now}
	return q.decide()
}

// ResolveIgnoringExpiry is Resolve for devices that verify no signatures, such as browsers and the plugins of other
// services: it ignores expiry, which protects only devices that verify it. Other devices would lose their app when the
// manifest expires.
func ResolveIgnoringExpiry(m *Manifest, d Device, now time.Time) Decision {
	q := question{m: m, device: d, now: now, ignoreExpiry: true}
	return q.decide()
}

func (q *question) decide() Decision {
	for r := ruleCritical; ; r++ {
		if decision, decided := q.apply(r); decided {
			return decision
		}
	}
}

// rule is one step of a decision. Rules are applied in this order until one decides; the last one always does.
type rule int

const (
	ruleCritical  rule = iota // are all critical members of the manifest known?
	ruleExpiry                // has the manifest expired?
	ruleOverride              // does an override name the device?
	ruleRollout               // what should the device run: which release, or what its native app came with?
	ruleInstalled             // does it run that already?
	ruleAudience              // is the channel for the device?
	ruleNative                // can its native app run the release?
	ruleDirection             // may it move there from what it runs?
	ruleStep                  // does the channel allow the step?
)

// question is a decision in progress.
type question struct {
	m            *Manifest
	device       Device
	now          time.Time
	ignoreExpiry bool

	named  *Override // the override that names the device; nil: none
	place  place     // in the rollout, if no override names the device
	target *Release  // what the device should run; nil: nothing, or what its native app came with

	builtIn bool // the device should run what its native app came with
}

// apply applies one rule, after those before it, and reports whether it has decided.
func (q *question) apply(r rule) (Decision, bool) {
	m, d := q.m, &q.device
	switch r {
	case ruleCritical:
		if m.unknownCritical() != "" {
			return stay(ReasonNeedsUpdate)
		}
	case ruleExpiry:
		if expired(m.Expires, q.now) && !q.ignoreExpiry {
			return stay(ReasonExpired)
		}
	case ruleOverride:
		q.named = m.override(d)
	case ruleRollout:
		if q.target, q.builtIn = q.findTarget(); q.target == nil && !q.builtIn {
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

// stay returns the decision to stay if there is a reason, and reports whether there is one.
func stay(reason Reason) (Decision, bool) {
	return Decision{Kind: None, Reason: reason}, reason != ""
}

// findTarget returns what the device should run: a release, or what its native app came with, or neither.
func (q *question) findTarget() (release *Release, builtIn bool) {
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

// mayGoDown reports whether the manifest allows the device to move to a lower version: a rollback withdrew what it
// runs, an override names it, or the rollout gives what it runs to others. In the last case the device must run a
// release of this channel. A device with any other version between the two stays, for example because its native app
// came with newer files than the channel serves.
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

// runsOn reports whether the device runs r, by the bundle, or by the version if the bundle is not known.
func (r *Release) runsOn(d Device) bool {
	if d.Bundle.IsZero() {
		return d.Version == r.Version
	}
	return d.Bundle == r.Bundle
}

// reason returns why a native version is outside the limits, and "" if it is within.
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
