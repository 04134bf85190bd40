package channel

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// MaxPlatforms bounds each list of platforms in the rules.
const MaxPlatforms = 16

// Rules define which devices a channel is for, and how large a step an update may be. The zero value is for all devices
// and every step. An [Override] takes precedence over the rules.
type Rules struct {
	Private       bool       `json:"private,omitempty"`       // only for devices that an override names
	Platforms     []Platform `json:"platforms,omitempty"`     // only for these; empty: all
	NoEmulators   bool       `json:"noEmulators,omitempty"`   // not for emulators and simulators
	NoDevices     bool       `json:"noDevices,omitempty"`     // not for real devices
	NoProduction  bool       `json:"noProduction,omitempty"`  // not for production builds of the native app
	NoDevelopment bool       `json:"noDevelopment,omitempty"` // not for development builds of the native app

	MaxStep        Step   `json:"maxStep,omitempty"`        // the largest step of an update; empty is StepMajor
	MinNative      string `json:"minNative,omitempty"`      // semver, for StepNumber only
	NotUnderNative bool   `json:"notUnderNative,omitempty"` // no release below the version of the native app

	// Default and SelfAssign are for devices that do not require a certain channel, see Choose. A private channel can have
	// neither.
	Default    []Platform `json:"default,omitempty"`    // the channel is the default of these
	SelfAssign bool       `json:"selfAssign,omitempty"` // devices may choose the channel themselves

	unknown unknown
}

// Step is the size of an update, from the version that a device runs to that of the release. For a device whose version
// is not known, the native version is used, for it probably runs what its native app came with. A rollback is not a
// step.
type Step string

// The steps, from the smallest.
const (
	StepNone  Step = "none"  // no update at all
	StepPatch Step = "patch" // 1.4.0 to 1.4.1
	StepMinor Step = "minor" // 1.4.1 to 1.5.0
	StepMajor Step = "major" // 1.5.0 to 2.0.0

	// StepNumber allows every step to devices whose native app has at least version Rules.MinNative.
	StepNumber Step = "version_number"
)

// size orders steps; -1 means that s is not valid.
func (s Step) size() int {
	switch s {
	case StepNone:
		return 0
	case StepPatch:
		return 1
	case StepMinor:
		return 2
	case StepMajor, StepNumber, "":
		return 3
	default:
		return -1
	}
}

// stepBetween returns the step from one version to another; both must be semver.
func stepBetween(from, to string) Step {
	fromMajor, fromMinor := majorMinor(from)
	toMajor, toMinor := majorMinor(to)
	switch {
	case fromMajor != toMajor:
		return StepMajor
	case fromMinor != toMinor:
		return StepMinor
	default:
		return StepPatch
	}
}

// majorMinor returns the first two numbers of a semver, or of a native version of one or two numbers.
func majorMinor(version string) (major, minor string) {
	if i := strings.IndexAny(version, "-+"); i >= 0 {
		version = version[:i]
	}
	major, rest, _ := strings.Cut(version, ".")
	if minor, _, _ = strings.Cut(rest, "."); minor == "" {
		minor = "0"
	}
	return major, minor
}

// known reports whether a version is semver, or a native version of one or two numbers.
func known(version string) bool { return CompareVersions(version, "") > 0 }

// audience returns why the channel is not for the device, and "" if it is.
func (r *Rules) audience(d Device) Reason {
	switch {
	case r.Private:
		return ReasonPrivate
	case len(r.Platforms) > 0 && !slices.Contains(r.Platforms, d.Platform):
		return ReasonPlatform
	case r.NoEmulators && d.Emulator:
		return ReasonEmulator
	case r.NoDevices && !d.Emulator:
		return ReasonDevice
	case r.NoDevelopment && d.Development:
		return ReasonDevelopment
	case r.NoProduction && !d.Development:
		return ReasonProduction
	default:
		return ""
	}
}

// underNative returns why the device may not run the version in its native app, and "" if it may.
func (r *Rules) underNative(version, native string) Reason {
	switch {
	case !r.NotUnderNative:
		return ""
	case !known(native):
		return ReasonNativeUnknown
	case CompareVersions(version, native) < 0:
		return ReasonUnderNative
	default:
		return ""
	}
}

// step returns why the device may not be updated to the version, and "" if it may.
func (r *Rules) step(version string, d Device) Reason {
	if r.MaxStep == StepNumber {
		return r.number(d.Native)
	}
	if r.MaxStep.size() == StepMajor.size() {
		return ""
	}
	from := d.runs()
	if from == "" {
		return ReasonVersionUnknown
	}
	if stepBetween(from, version).size() > r.MaxStep.size() {
		return ReasonStep
	}
	return ""
}

// number returns why StepNumber does not allow the native app an update, and "" if it does.
func (r *Rules) number(native string) Reason {
	switch {
	case r.MinNative == "":
		return ReasonMisconfigured
	case !known(native):
		return ReasonNativeUnknown
	case CompareVersions(native, r.MinNative) < 0:
		return ReasonStep
	default:
		return ""
	}
}

// Open reports whether the channel is for all devices of the platform, and not only for those that an override names.
func (r *Rules) Open(p Platform) bool {
	return !r.Private && (len(r.Platforms) == 0 || slices.Contains(r.Platforms, p))
}

// runs returns the version that the device runs, or its native version if that is not known, or "".
func (d *Device) runs() string {
	switch {
	case known(d.Version):
		return d.Version
	case known(d.Native):
		return d.Native
	default:
		return ""
	}
}

// SetRules returns the manifest with the rules instead of m's. To change some of them, start from m.Rules. It returns
// [ErrUnchanged] if they are the same, and refuses malformed rules.
func (m *Manifest) SetRules(r Rules, now time.Time) (*Manifest, error) {
	r = r.clone()
	if reflect.DeepEqual(m.Rules.clone(), r) {
		return nil, ErrUnchanged
	}
	next := m.next(now)
	next.Rules = r
	return checked(next, next.Rules.check())
}

// MarshalJSON encodes the fields, and the unknown members that UnmarshalJSON found.
func (r Rules) MarshalJSON() ([]byte, error) {
	type fields Rules
	return encodeObject(fields(r), r.unknown)
}

// UnmarshalJSON decodes rules, with the members that this version does not know. It does not check the values.
func (r *Rules) UnmarshalJSON(raw []byte) error {
	type fields Rules
	var f fields
	rest, err := decodeObject(raw, &f)
	*r = Rules(f)
	r.unknown = rest
	return err
}

// clone returns a deep copy.
func (r *Rules) clone() Rules {
	c := *r
	c.Platforms = append([]Platform(nil), r.Platforms...)
	c.Default = append([]Platform(nil), r.Default...)
	c.unknown = r.unknown.clone()
	return c
}

func (r *Rules) check() error {
	for _, list := range [][]Platform{r.Platforms, r.Default} {
		if len(list) > MaxPlatforms {
			return malformed("rules list %d platforms, want at most %d", len(list), MaxPlatforms)
		}
		for _, platform := range list {
			if err := checkName("platform", string(platform), MaxRole); err != nil {
				return err
			}
		}
	}
	if r.Private && (len(r.Default) > 0 || r.SelfAssign) {
		return refuse(CodeMalformed, "remove the defaults and self-assignment, or make the channel public",
			"a private channel cannot be a default or be chosen by devices")
	}
	for _, platform := range r.Default {
		if !r.Open(platform) {
			return malformed("the channel is the default of platform %s, but is not for that platform", platform)
		}
	}
	if r.MaxStep.size() < 0 {
		return malformed("maxStep is %q, want none, patch, minor, major or version_number", r.MaxStep)
	}
	if r.MinNative != "" {
		return CheckVersion(r.MinNative)
	}
	return nil
}
