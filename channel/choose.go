package channel

import (
	"slices"
	"time"
)

// Production is the default channel of devices that do not require a certain one.
const Production = "production"

// Choice is the reason why a device follows a channel. Choices appear in HTTP answers, and their meaning never changes.
type Choice string

// The choices, in order of precedence.
const (
	ChoiceOverride Choice = "override" // an override of the channel names the device
	ChoiceAssigned Choice = "assigned" // the device has chosen it before, and still may
	ChoiceAsked    Choice = "asked"    // the device asks for it
	ChoiceDefault  Choice = "default"  // it is the default of the device's platform
	ChoiceOnly     Choice = "only"     // no channel is a default, and it is called production, or is the only one
	ChoiceNone     Choice = "none"     // there is none for the device
)

// Choose returns the channel of a device that does not require a certain one, and why; nil with [ChoiceNone] if there
// is none. list has the manifests in force of one app, in any order. The first rule that applies decides:
//
//  1. A channel with an override that names the device, by its ID or else by its custom ID.
//  2. assigned, which the device chose before, if it is open and its rules still let devices choose it (SelfAssign).
//  3. asked, which the device asks for now. If that does not exist or is not open, there is no channel for the device:
//     the other rules do not apply, and the answer does not reveal which private channels exist.
//  4. The default of its platform, if it is open.
//  5. While no channel is the default of any platform: [Production] if it is open, or the only open channel.
//
// A channel is open to a device if it is not private and is for its platform ([Rules.Open]). Of several channels, those
// that have not expired come first, then the first by name. Choose is pure and does not allocate. [Resolve] decides
// what the device gets from the channel.
func Choose(list []*Manifest, d Device, asked, assigned string, now time.Time) (*Manifest, Choice) {
	if m := findBest(list, now, func(m *Manifest) bool { return m.hasOverride(d.ID, "") }); m != nil {
		return m, ChoiceOverride
	}
	if m := findBest(list, now, func(m *Manifest) bool { return m.hasOverride("", d.Custom) }); m != nil {
		return m, ChoiceOverride
	}
	open := func(m *Manifest) bool { return m.Rules.Open(d.Platform) }
	if m := findChannel(list, assigned); m != nil && m.Rules.SelfAssign && open(m) {
		return m, ChoiceAssigned
	}
	if asked != "" {
		if m := findChannel(list, asked); m != nil && open(m) {
			return m, ChoiceAsked
		}
		return nil, ChoiceNone
	}
	if slices.ContainsFunc(list, func(m *Manifest) bool { return len(m.Rules.Default) > 0 }) {
		isDefault := func(m *Manifest) bool { return slices.Contains(m.Rules.Default, d.Platform) && open(m) }
		m := findBest(list, now, isDefault)
		if m == nil {
			return nil, ChoiceNone
		}
		return m, ChoiceDefault
	}
	if m := findChannel(list, Production); m != nil && open(m) {
		return m, ChoiceOnly
	}
	m := findBest(list, now, open)
	if m == nil || slices.ContainsFunc(list, func(other *Manifest) bool { return other != m && open(other) }) {
		return nil, ChoiceNone
	}
	return m, ChoiceOnly
}

// findBest returns the first manifest by name of those that fit, preferring those that have not expired; nil if none
// fits.
func findBest(list []*Manifest, now time.Time, fits func(*Manifest) bool) (best *Manifest) {
	for _, m := range list {
		if !fits(m) {
			continue
		}
		switch late := expired(m.Expires, now); {
		case best == nil, !late && expired(best.Expires, now):
			best = m
		case late == expired(best.Expires, now) && m.Channel < best.Channel:
			best = m
		}
	}
	return best
}

// findChannel returns the manifest of the channel, or nil.
func findChannel(list []*Manifest, channel string) *Manifest {
	for _, m := range list {
		if m.Channel == channel {
			return m
		}
	}
	return nil
}

// hasOverride reports whether an override names the ID or the custom ID, of which one is empty.
func (m *Manifest) hasOverride(id, custom string) bool {
	return len(m.Overrides) > 0 && overrideNamed(m, m.HashDevice(id), m.HashCustom(custom)) != nil
}
