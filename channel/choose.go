package channel

import (
	"slices"
	"time"
)

// Production is the channel of a device that follows none in particular, when nothing else says which.
const Production = "production"

// Choice says why a device follows a channel. Choices appear in HTTP answers and never change their meaning.
type Choice string

// The choices, in the order in which they count.
const (
	ChoiceOverride Choice = "override" // an override of the channel names the device
	ChoiceAssigned Choice = "assigned" // the device has chosen it before, and may still
	ChoiceAsked    Choice = "asked"    // the device asks for it
	ChoiceDefault  Choice = "default"  // it is the default of the device's platform
	ChoiceOnly     Choice = "only"     // no channel is a default, and it is called production, or is the only one
	ChoiceNone     Choice = "none"     // there is none for the device
)

// Choose returns the channel that a device follows which does not insist on one, and why; nil with [ChoiceNone] when
// there is none. list has the manifests in force of one app, in any order. The first of these counts:
//
//  1. An override names the device, by its ID or else by its custom ID.
//  2. assigned, which the device chose before, if its rules still let devices choose it (SelfAssign), and it is open.
//  3. asked, which the device names now. If that does not exist or is not open, there is no channel for the device: it
//     is not taken elsewhere, and does not learn which private channels there are.
//  4. The default of its platform, if it is open.
//  5. While no channel is the default of any platform: [Production] if it is open, or the only open channel.
//
// A channel is open to a device if it is not private and is for its platform ([Rules.Open]). Where several would do,
// those that have not expired come first, and then the first by name. Choose is pure, and does not allocate; what the
// device gets from the channel is for [Resolve] to say.
func Choose(list []*Manifest, d Device, asked, assigned string, now time.Time) (*Manifest, Choice) {
	if m := pick(list, now, func(m *Manifest) bool { return m.names(d.ID, "") }); m != nil {
		return m, ChoiceOverride
	}
	if m := pick(list, now, func(m *Manifest) bool { return m.names("", d.Custom) }); m != nil {
		return m, ChoiceOverride
	}
	open := func(m *Manifest) bool { return m.Rules.Open(d.Platform) }
	if m := named(list, assigned); m != nil && m.Rules.SelfAssign && open(m) {
		return m, ChoiceAssigned
	}
	if asked != "" {
		if m := named(list, asked); m != nil && open(m) {
			return m, ChoiceAsked
		}
		return nil, ChoiceNone
	}
	if slices.ContainsFunc(list, func(m *Manifest) bool { return len(m.Rules.Default) > 0 }) {
		m := pick(list, now, func(m *Manifest) bool { return slices.Contains(m.Rules.Default, d.Platform) && open(m) })
		if m == nil {
			return nil, ChoiceNone
		}
		return m, ChoiceDefault
	}
	if m := named(list, Production); m != nil && open(m) {
		return m, ChoiceOnly
	}
	m := pick(list, now, open)
	if m == nil || slices.ContainsFunc(list, func(other *Manifest) bool { return other != m && open(other) }) {
		return nil, ChoiceNone
	}
	return m, ChoiceOnly
}

// pick returns the manifest that fits, is good the best, and then is the first by name; nil if none fits.
func pick(list []*Manifest, now time.Time, fits func(*Manifest) bool) (best *Manifest) {
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

// named returns the manifest of the channel, or nil.
func named(list []*Manifest, channel string) *Manifest {
	for _, m := range list {
		if m.Channel == channel {
			return m
		}
	}
	return nil
}

// names reports whether an override names the ID, or the custom ID; the other one is empty.
func (m *Manifest) names(id, custom string) bool {
	return len(m.Overrides) > 0 && overrideNamed(m, m.HashDevice(id), m.HashCustom(custom)) != nil
}
