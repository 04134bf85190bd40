package channel

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// at returns what Resolve decides in one line: "update 1.5.0", "none ahead".
func at(m *Manifest, d Device, when time.Time) string {
	got := Resolve(m, d, when)
	text := string(got.Kind)
	if got.Reason != "" {
		text += " " + string(got.Reason)
	}
	if got.Release != nil {
		text += " " + got.Release.Version
	}
	return text
}

// ruled returns the manifest of a channel that served 1.4.0 and serves 1.5.0, with rules.
func ruled(t *testing.T, r Rules) *Manifest {
	t.Helper()
	return signed(t, must(shop(t, "production", "1.4.0", "1.5.0").SetRules(r, now))(t))
}

// TestRules reads as what each rule does.
func TestRules(t *testing.T) {
	private := ruled(t, Rules{Private: true})
	phones := ruled(t, Rules{Platforms: []Platform{IOS, Android}})
	devices := ruled(t, Rules{NoEmulators: true})
	emulators := ruled(t, Rules{NoDevices: true})
	production := ruled(t, Rules{NoDevelopment: true})
	development := ruled(t, Rules{NoProduction: true})
	frozen := ruled(t, Rules{MaxStep: StepNone})
	patches := ruled(t, Rules{MaxStep: StepPatch})
	minors := ruled(t, Rules{MaxStep: StepMinor})
	majors := ruled(t, Rules{MaxStep: StepMajor})
	native := ruled(t, Rules{NotUnderNative: true})
	numbers := ruled(t, Rules{MaxStep: StepNumber, MinNative: "3.0.0"})
	unnamed := ruled(t, Rules{MaxStep: StepNumber})
	back := signed(t, must(must(patches.Publish(release("2.0.0"), now))(t).RollBack("1.4.0", now))(t))

	for _, row := range []struct {
		name   string
		m      *Manifest
		device Device
		want   string
	}{
		// Whom the channel is for.
		{"nobody is named", private, Device{ID: "a", Version: "1.4.0"}, "none private_channel"},
		{"it runs the release already", private, Device{Version: "1.5.0"}, "up_to_date"},
		{"a phone", phones, Device{Platform: IOS, Version: "1.4.0"}, "update 1.5.0"},
		{"a browser", phones, Device{Platform: Web, Version: "1.4.0"}, "none platform_not_allowed"},
		{"no platform told", phones, Device{Version: "1.4.0"}, "none platform_not_allowed"},
		{"an emulator", devices, Device{Emulator: true}, "none emulator_not_allowed"},
		{"a device", devices, Device{}, "update 1.5.0"},
		{"an emulator, for emulators", emulators, Device{Emulator: true}, "update 1.5.0"},
		{"a device, for emulators", emulators, Device{}, "none device_not_allowed"},
		{"a development build", production, Device{Development: true}, "none development_not_allowed"},
		{"a production build", production, Device{}, "update 1.5.0"},
		{"a development build, for those", development, Device{Development: true}, "update 1.5.0"},
		{"a production build, for others", development, Device{}, "none production_not_allowed"},

		// How far an update goes, from what the device runs.
		{"no step", frozen, Device{Version: "1.4.9"}, "none step_too_large"},
		{"no step is needed", frozen, Device{Version: "1.5.0"}, "up_to_date"},
		{"a patch", patches, Device{Version: "1.5.0-beta.1"}, "update 1.5.0"},
		{"a minor, patches only", patches, Device{Version: "1.4.9"}, "none step_too_large"},
		{"a minor", minors, Device{Version: "1.4.9"}, "update 1.5.0"},
		{"a major, minors only", minors, Device{Version: "0.9.0"}, "none step_too_large"},
		{"a major", majors, Device{Version: "0.9.0"}, "update 1.5.0"},
		{"from what the native app came with", patches, Device{Version: "builtin", Native: "1.5"}, "update 1.5.0"},
		{"from a native app of long ago", patches, Device{Native: "1.2"}, "none step_too_large"},
		{"from nothing known", patches, Device{Version: "builtin"}, "none version_unknown"},
		{"from nothing known, any step", majors, Device{Version: "builtin"}, "update 1.5.0"},
		{"a rollback is no step", back, Device{Version: "2.0.0"}, "rollback 1.4.0"},

		// From a version of the native app on, whatever the step.
		{"a native app that is new enough", numbers, Device{Native: "3.0", Version: "0.1.0"}, "update 1.5.0"},
		{"a native app that is too old", numbers, Device{Native: "2.9.9", Version: "1.4.9"}, "none step_too_large"},
		{"a native app of unknown age", numbers, Device{Version: "1.4.9"}, "none native_unknown"},
		{"too old, and no step is needed", numbers, Device{Native: "2.9.9", Version: "1.5.0"}, "up_to_date"},
		{"from which version on is not said", unnamed, Device{Native: "9.0.0"}, "none misconfigured_channel"},

		// Not under the native app.
		{"native is lower", native, Device{Native: "1.4.0"}, "update 1.5.0"},
		{"native is the same", native, Device{Native: "1.5"}, "update 1.5.0"},
		{"native is higher", native, Device{Native: "1.5.1", Version: "1.4.0"}, "none under_native"},
		{"native is unknown", native, Device{Version: "1.4.0"}, "none native_unknown"},
	} {
		if got := at(row.m, row.device, now); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestStepBetween(t *testing.T) {
	for _, row := range []struct {
		from, to string
		want     Step
	}{
		{"1.4.0", "1.4.1", StepPatch},
		{"1.4.0-rc.1", "1.4.0", StepPatch},
		{"1.4.0", "1.4.0+7.9", StepPatch},
		{"1.4.9", "1.5.0", StepMinor},
		{"1.5.0", "1.4.9", StepMinor},
		{"1.4.9", "2.4.9", StepMajor},
		{"0.1.0", "0.2.0", StepMinor},
		{"1.10.0", "1.1.0", StepMinor},
		{"1", "1.0.9", StepPatch},
		{"1", "1.1.0", StepMinor},
		{"1.2", "1.2.3", StepPatch},
		{"1-rc.1", "1.0.0", StepPatch},
	} {
		if got := stepBetween(row.from, row.to); got != row.want {
			t.Errorf("from %s to %s is a %s step, want %s", row.from, row.to, got, row.want)
		}
	}
}

func TestManifest_SetRules(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	rules := Rules{Platforms: []Platform{IOS}, Default: []Platform{IOS}, MaxStep: StepMinor}
	next := must(m.SetRules(rules, now))(t)
	rules.Platforms[0], rules.Default[0] = Web, Web
	if next.Rules.Platforms[0] != IOS || next.Rules.Default[0] != IOS || next.Sequence != m.Sequence+1 || len(m.Rules.Platforms) != 0 {
		t.Errorf("rules are %+v at sequence %d", next.Rules, next.Sequence)
	}
	if _, err := next.SetRules(signed(t, next).Rules, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same rules again: %v", err)
	}
	// They are the channel's, and stay with it whatever it serves.
	for _, later := range []*Manifest{
		must(next.Publish(release("1.6.0"), now))(t), must(next.RollBack("", now))(t), must(next.Amend(next.Release, now))(t),
	} {
		if later.Rules.MaxStep != StepMinor || len(later.Rules.Default) != 1 {
			t.Errorf("%s lost its rules", versions(later))
		}
	}
	for name, bad := range map[string]Rules{
		"unknown step":       {MaxStep: "huge"},
		"bad platform":       {Platforms: []Platform{"a/b"}},
		"too many platforms": {Platforms: platforms(MaxPlatforms + 1)},
		"too many defaults":  {Default: platforms(MaxPlatforms + 1)},
	} {
		if _, err := m.SetRules(bad, now); CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func platforms(n int) (list []Platform) {
	for i := range n {
		list = append(list, Platform(fmt.Sprintf("p%d", i)))
	}
	return list
}

func TestExplain_DescribesEveryRuleUpToTheOneThatDecided(t *testing.T) {
	m := must(ruled(t, Rules{MaxStep: StepPatch}).Roll(release("1.6.0"), Rollout{Share: 1250}, now))(t)
	got, findings := Explain(m, Device{ID: "a", Version: "1.4.0"}, now)
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.Rule+": "+f.Text)
	}
	want := fmt.Sprintf(`expiry: the manifest never expires
override: none of 0 overrides names the device
rollout: 1.6.0 is rolled out to 12.50 %%, and the device, at %s, is out; the device gets 1.5.0
installed: it runs something else: version "1.4.0"
audience: the channel is for it
native: the native app can run it
direction: it is not a step down
step: from 1.4.0 it is a minor step, and the channel allows steps up to patch`, percent(Bucket("a", m.Release.Bundle)))
	if text := strings.Join(lines, "\n"); text != want || got.Reason != ReasonStep {
		t.Errorf("%+v:\n%s\nwant:\n%s", got, text, want)
	}
}
