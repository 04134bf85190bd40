package channel

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestChoose reads as which channel a device follows that does not insist on one.
func TestChoose(t *testing.T) {
	of := func(name string, r Rules, overrides ...Override) *Manifest {
		m := shop(t, name, "1.4.0")
		for _, o := range overrides {
			m = must(m.SetOverride(o, now))(t)
		}
		if next, err := m.SetRules(r, now); err == nil {
			m = next
		}
		return signed(t, m)
	}
	late := func(m *Manifest) *Manifest {
		past := *m
		past.Issued, past.Expires = now.Add(-2*time.Hour), now.Add(-time.Hour)
		return signed(t, &past)
	}
	phones := []Platform{IOS, Android}
	production := of("production", Rules{Default: []Platform{Android, Electron}, Platforms: []Platform{Android, Electron}})
	development := of("development", Rules{Default: []Platform{IOS}, Platforms: phones})
	beta := of("beta", Rules{SelfAssign: true, Platforms: phones})
	internal := of("internal", Rules{Private: true}, overriding("internal", "tester", "staff")...)
	four := []*Manifest{internal, production, development, beta}

	plain := of("production", Rules{})
	other, third := of("nightly", Rules{}), of("stable", Rules{})
	web := of("site", Rules{Platforms: []Platform{Web}})
	staff := of("alpha", Rules{}, overriding("alpha", "staff-1", "staff")...)
	closed := of("production", Rules{Private: true})
	old := of("a-default", Rules{Default: []Platform{IOS}})
	young := of("b-default", Rules{Default: []Platform{IOS}})

	both := Device{ID: "tester", Custom: "staff"}
	ios, android := Device{ID: "a", Platform: IOS}, Device{ID: "a", Platform: Android}
	for _, row := range []struct {
		name     string
		list     []*Manifest
		device   Device
		asked    string
		assigned string
		want     string
		why      Choice
	}{
		// Overrides name a device in a channel, whatever it asks for.
		{"named by its ID", four, Device{ID: "tester", Platform: IOS}, "beta", "beta", "internal", ChoiceOverride},
		{"named by its custom ID", four, Device{ID: "b", Custom: "staff"}, "", "", "internal", ChoiceOverride},
		{"its ID counts before the custom one", []*Manifest{internal, staff}, both, "", "", "internal", ChoiceOverride},
		{"named twice", []*Manifest{internal, staff}, Device{Custom: "staff"}, "", "", "alpha", ChoiceOverride},
		{"named in one that has expired, too", []*Manifest{internal, late(staff)}, Device{Custom: "staff"}, "", "", "internal", ChoiceOverride},
		{"named in one that has expired", []*Manifest{plain, late(staff)}, Device{Custom: "staff"}, "", "", "alpha", ChoiceOverride},
		{"no ID is nobody's", four, Device{Platform: IOS}, "", "", "development", ChoiceDefault},

		// What it chose before counts as long as it may choose it.
		{"chose beta", four, ios, "", "beta", "beta", ChoiceAssigned},
		{"chose beta, and asks for another", four, ios, "development", "beta", "beta", ChoiceAssigned},
		{"chose what cannot be chosen", four, ios, "", "production", "development", ChoiceDefault},
		{"chose what cannot be chosen, and is open", []*Manifest{plain, other}, ios, "", "nightly", "production", ChoiceOnly},
		{"chose what is not for its platform", four, Device{Platform: Electron}, "", "beta", "production", ChoiceDefault},
		{"chose what is gone", four, ios, "", "gone", "development", ChoiceDefault},
		{"chose what has expired", []*Manifest{plain, late(beta)}, ios, "", "beta", "beta", ChoiceAssigned},

		// What it asks for, or nothing.
		{"asks for beta", four, ios, "beta", "", "beta", ChoiceAsked},
		{"asks for what is not for its platform", four, ios, "production", "", "", ChoiceNone},
		{"asks for a private one", four, ios, "internal", "", "", ChoiceNone},
		{"asks for what is not there", four, ios, "gone", "", "", ChoiceNone},
		{"asks for what has expired", []*Manifest{plain, late(other)}, ios, "nightly", "", "nightly", ChoiceAsked},

		// The default of its platform.
		{"the default on iOS", four, ios, "", "", "development", ChoiceDefault},
		{"the default on Android", four, android, "", "", "production", ChoiceDefault},
		{"no default on the web", four, Device{Platform: Web}, "", "", "", ChoiceNone},
		{"no platform told", four, Device{}, "", "", "", ChoiceNone},
		{"two defaults: the first by name", []*Manifest{young, old}, ios, "", "", "a-default", ChoiceDefault},
		{"one of them has expired", []*Manifest{late(old), young}, ios, "", "", "b-default", ChoiceDefault},
		{"the only default has expired", []*Manifest{late(old), plain}, ios, "", "", "a-default", ChoiceDefault},

		// No channel is a default.
		{"the only channel", []*Manifest{other}, ios, "", "", "nightly", ChoiceOnly},
		{"one of them is production", []*Manifest{other, plain, third}, ios, "", "", "production", ChoiceOnly},
		{"none of them is production", []*Manifest{other, third}, ios, "", "", "", ChoiceNone},
		{"the only one for its platform", []*Manifest{other, web}, ios, "", "", "nightly", ChoiceOnly},
		{"the only one that is not private", []*Manifest{closed, internal, other}, ios, "", "", "nightly", ChoiceOnly},
		{"all are private", []*Manifest{closed, internal}, ios, "", "", "", ChoiceNone},
		{"there is none", nil, ios, "", "", "", ChoiceNone},
	} {
		reversed := slices.Clone(row.list)
		slices.Reverse(reversed)
		for _, list := range [][]*Manifest{row.list, reversed} {
			m, why := Choose(list, row.device, row.asked, row.assigned, now)
			got := ""
			if m != nil {
				got = m.Channel
			}
			if got != row.want || why != row.why {
				t.Errorf("%s: %q, %s; want %q, %s", row.name, got, why, row.want, row.why)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { Choose(four, ios, "", "gone", now) }); n != 0 {
		t.Errorf("Choose allocates %v times", n)
	}
}

// TestChoose_AgreesWithResolve: a channel that was chosen for no override is one whose rules let the platform in, and
// which is not private. The order of the list does not matter.
func TestChoose_AgreesWithResolve(t *testing.T) {
	names := []string{"", "a", "b", "c", Production}
	rapid.Check(t, func(rt *rapid.T) {
		var list []*Manifest
		for _, name := range names[1:] {
			m := shop(t, name, "1.0.0")
			if next, err := m.SetRules(drawRules(rt), now); err == nil {
				m = next
			}
			if rapid.Bool().Draw(rt, "override") {
				m = must(m.SetOverride(Override{Device: m.HashDevice(drawID(rt) + "x")}, now))(t)
			}
			list = append(list, m)
		}
		list = list[:rapid.IntRange(0, len(list)).Draw(rt, "channels")]
		d := drawDevice(rt)
		asked, assigned := rapid.SampledFrom(names).Draw(rt, "asked"), rapid.SampledFrom(names).Draw(rt, "assigned")
		m, why := Choose(list, d, asked, assigned, now)
		if (m == nil) != (why == ChoiceNone) {
			rt.Fatalf("%v was chosen: %s", m, why)
		}
		again, whyAgain := Choose(rapid.Permutation(list).Draw(rt, "order"), d, asked, assigned, now)
		if again != m || whyAgain != why {
			rt.Fatalf("in another order another is chosen: %s, %s", why, whyAgain)
		}
		if m == nil {
			return
		}
		got := Resolve(m, d, now)
		closed := got.Reason == ReasonPrivate || got.Reason == ReasonPlatform
		if closed || why == ChoiceOverride != (m.override(&d) != nil) {
			rt.Fatalf("%s was chosen by %s, and gives %+v", m.Channel, why, got)
		}
		if why == ChoiceAsked && m.Channel != asked || why == ChoiceAssigned && m.Channel != assigned {
			rt.Fatalf("%s was chosen for %q and %q: %s", m.Channel, asked, assigned, why)
		}
	})
}

// overriding returns an override of a device and one of a custom ID on the channel.
func overriding(channel, device, custom string) []Override {
	m := NewManifest("acme", "com.acme.shop", channel)
	return []Override{{Device: m.HashDevice(device)}, {Custom: m.HashCustom(custom)}}
}
