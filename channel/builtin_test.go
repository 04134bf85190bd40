package channel

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestRevert tells what devices get when no release is good: 1.5.0 came after 1.4.0, and then the channel is reverted.
func TestRevert(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	for _, o := range []Override{{Device: production.HashDevice("tester")}, {Device: production.HashDevice("pinned"), Version: "1.4.0"}} {
		m = must(m.SetOverride(o, now))(t)
	}
	reverted := signed(t, must(m.Revert(now))(t))
	phones := signed(t, must(reverted.SetRules(Rules{Platforms: []Platform{IOS}, MaxStep: StepNone}, now))(t))
	again := signed(t, must(reverted.Publish(release("1.5.0"), now))(t))
	fixed := signed(t, must(reverted.Publish(release("1.6.0"), now))(t))
	back := signed(t, must(reverted.RollBack("1.5.0", now))(t))
	lower := signed(t, must(reverted.RollBack("", now))(t))
	some := signed(t, must(reverted.Roll(release("1.6.0"), Rollout{Share: 2000}, now))(t))
	all := signed(t, must(some.CompleteRollout(now))(t))
	aborted := signed(t, must(some.AbortRollout(now))(t))
	former := signed(t, must(reverted.SetRollout(Rollout{Share: 2000}, now))(t))
	stopped := signed(t, must(must(m.Roll(release("1.6.0"), Rollout{Share: 2000}, now))(t).Revert(now))(t))
	one := signed(t, must(m.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now))(t))

	in, out := near("1.6.0", 500), near("1.6.0", 5000)
	for _, row := range []struct {
		name   string
		m      *Manifest
		device Device
		want   string
	}{
		{"runs the release", reverted, Device{Version: "1.5.0", Bundle: release("1.5.0").Bundle}, "built_in"},
		{"runs an older one", reverted, Device{Version: "1.4.0"}, "built_in"},
		{"runs what its native app came with", reverted, Device{BuiltIn: true}, "up_to_date"},
		{"came with something newer", reverted, Device{BuiltIn: true, Version: "7.0.0"}, "up_to_date"},
		{"runs nothing known", reverted, Device{}, "built_in"},
		{"runs what the channel never had", reverted, Device{Version: "7.0.0"}, "none ahead"},
		{"whatever its native app", reverted, Device{Platform: IOS, Native: "0.1", Version: "1.5.0"}, "built_in"},
		{"is named", reverted, Device{ID: "tester", Version: "1.5.0"}, "built_in"},
		{"is named with a version", reverted, Device{ID: "pinned", Version: "1.5.0"}, "rollback 1.4.0"},
		{"the channel is not for it", phones, Device{Platform: Web, Version: "1.5.0"}, "none platform_not_allowed"},
		{"it is no step", phones, Device{Platform: IOS, Version: "1.5.0"}, "built_in"},

		{"the same release again", again, Device{BuiltIn: true}, "update 1.5.0"},
		{"the same again, runs it", again, Device{Version: "1.5.0"}, "up_to_date"},
		{"the next release", fixed, Device{BuiltIn: true}, "update 1.6.0"},
		{"the next release, slept", fixed, Device{Version: "1.5.0"}, "update 1.6.0"},
		{"back to what it was", back, Device{BuiltIn: true}, "update 1.5.0"},
		{"back to one before", lower, Device{BuiltIn: true}, "update 1.4.0"},
		{"back to one before, slept", lower, Device{Version: "1.5.0"}, "rollback 1.4.0"},
		{"its native app came with what is served", back, Device{BuiltIn: true, Version: "1.5.0"}, "up_to_date"},

		{"the next for some: in", some, Device{ID: in, BuiltIn: true}, "update 1.6.0"},
		{"the next for some: out", some, Device{ID: out, BuiltIn: true}, "up_to_date"},
		{"the next for some: out, slept", some, Device{ID: out, Version: "1.5.0"}, "built_in"},
		{"the next for some: taken out again", some, Device{ID: out, Version: "1.6.0"}, "built_in"},
		{"the next for some: is named", some, Device{ID: "tester", BuiltIn: true}, "update 1.6.0"},
		{"then for all", all, Device{ID: out, BuiltIn: true}, "update 1.6.0"},
		{"or for none", aborted, Device{ID: in, Version: "1.6.0"}, "built_in"},
		{"the former for some: in", former, Device{ID: near("1.5.0", 500), BuiltIn: true}, "update 1.5.0"},
		{"the former for some: out", former, Device{ID: near("1.5.0", 5000), Version: "1.5.0"}, "built_in"},
		{"reverted amid a rollout: in", stopped, Device{ID: in, Version: "1.6.0"}, "built_in"},
		{"reverted amid a rollout: out", stopped, Device{ID: out, Version: "1.5.0"}, "built_in"},

		{"an override for one", one, Device{ID: "a", Version: "1.5.0"}, "built_in"},
		{"an override for one, who is there", one, Device{ID: "a", BuiltIn: true, Version: "1.3.0"}, "up_to_date"},
		{"others", one, Device{ID: "b", BuiltIn: true}, "update 1.5.0"},
	} {
		if got := at(row.m, row.device, now); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	for name, m := range map[string]*Manifest{"again": again, "fixed": fixed, "back": back, "lower": lower, "all": all} {
		if m.BuiltIn {
			t.Errorf("%s: the revert has not ended", name)
		}
	}
	if got := versions(again); got != "1.5.0 1.4.0" {
		t.Errorf("the same release again makes the history %s", got)
	}
	if stopped.Rollout != nil || aborted.Rollout != nil || !aborted.BuiltIn {
		t.Error("a rollout goes on beside a revert")
	}
}

func TestRevert_Operations(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	reverted := must(m.Revert(now.Add(time.Minute)))(t)
	if !reverted.BuiltIn || reverted.Sequence != 3 || reverted.Release.Version != "1.5.0" || m.BuiltIn {
		t.Errorf("reverted is %+v", reverted)
	}
	if _, err := reverted.Revert(now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("reverted again: %v", err)
	}
	_, err := NewManifest("acme", "com.acme.shop", "new").Revert(now)
	wantCode(t, err, CodeNotInHistory)
	_, err = reverted.CompleteRollout(now)
	wantCode(t, err, CodeNoRollout)
	_, err = reverted.Publish(release("1.4.1"), now)
	wantCode(t, err, CodeDowngrade)
	rules := must(reverted.SetRules(Rules{NoEmulators: true}, now))(t)
	if !rules.BuiltIn {
		t.Error("rules end a revert")
	}
	// A rollout to everyone is a release for all, and the next one is from it.
	everyone := must(reverted.Roll(release("1.6.0"), Rollout{Share: Everyone}, now))(t)
	if next := must(everyone.Roll(release("1.7.0"), Rollout{Share: 100}, now))(t); next.BuiltIn || next.Rollout.From != "1.6.0" {
		t.Errorf("after a rollout to everyone, others get %q, built-in: %t", next.Rollout.From, next.BuiltIn)
	}
	// What a rollback took back stays in force only as long as it means something.
	taken := must(must(m.RollBack("", now))(t).Roll(release("1.6.0"), Rollout{Share: 100}, now))(t)
	if got := signed(t, must(taken.Revert(now))(t)); got.Withdrawn != "" {
		t.Errorf("reverted, with %s withdrawn", got.Withdrawn)
	}
	withdrawn := signed(t, must(must(m.RollBack("", now))(t).Revert(now))(t))
	if got := at(withdrawn, Device{Version: "1.5.0"}, now); got != "built_in" {
		t.Errorf("a device that slept through the rollback gets %s", got)
	}
	again := signed(t, must(withdrawn.Publish(withdrawn.Release, now))(t))
	if got := at(again, Device{Version: "1.5.0"}, now); got != "rollback 1.4.0" {
		t.Errorf("a device that slept through the rollback and the revert gets %s", got)
	}

	for _, bad := range []Override{{Device: production.HashDevice("a"), Version: "1.4.0", BuiltIn: true}, {BuiltIn: true}} {
		_, err := m.SetOverride(bad, now)
		wantCode(t, err, CodeMalformed)
	}
	served := must(m.SetOverride(Override{Device: production.HashDevice("a")}, now))(t)
	if next := must(served.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now))(t); !next.Overrides[0].BuiltIn {
		t.Errorf("from what is served to %+v", next.Overrides)
	}
	one := must(m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.4.0"}, now))(t)
	one = must(one.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now))(t)
	if len(one.Overrides) != 1 || !one.Overrides[0].BuiltIn || one.Overrides[0].Version != "" {
		t.Errorf("the override is %+v", one.Overrides)
	}
	if _, err := one.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same again: %v", err)
	}
	spoilt := *reverted
	spoilt.Rollout = &Rollout{From: "1.4.0"}
	_, err = SignManifest(&spoilt, key("ann"))
	wantCode(t, err, CodeMalformed)
}

// TestExplain_BuiltIn has the sentences of a revert.
func TestExplain_BuiltIn(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	reverted := must(m.Revert(now))(t)
	some := must(reverted.Roll(release("1.6.0"), Rollout{Share: 2000}, now))(t)
	one := must(m.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now))(t)
	out := near("1.6.0", 5000)
	for _, row := range []struct {
		m      *Manifest
		device Device
		want   string
	}{
		{reverted, Device{Version: "1.5.0"}, `
expiry: the manifest never expires
override: none of 0 overrides names the device
rollout: the release is for no device any more; the device gets what its native app came with
installed: it runs something else: version "1.5.0"
audience: the channel is for it
native: what the native app came with fits
direction: it leaves what it runs, since the channel returns devices to what their native app came with`},
		{some, Device{ID: out, BuiltIn: true, Native: "2.0.0"}, `
expiry: the manifest never expires
override: none of 0 overrides names the device
rollout: 1.6.0 is rolled out to 20 %, and the device, at ` + percent(Bucket(out, release("1.6.0").Bundle)) +
			` %, is out; the device gets what its native app came with
installed: it runs that already`},
		{one, Device{ID: "a"}, `
expiry: the manifest never expires
override: an override names the device "a"
rollout: the override decides; the device gets what its native app came with
installed: it runs something else: an unknown version
audience: does not matter, since an override names the device
native: what the native app came with fits
direction: it leaves what it runs, since the override says so`},
		{m, Device{BuiltIn: true, Native: "1.2.0"}, `
expiry: the manifest never expires
override: none of 0 overrides names the device
rollout: the release is for all devices; the device gets 1.5.0
installed: it runs something else: what its native app came with, version "1.2.0"
audience: the channel is for it
native: the native app can run it
direction: it is not a step down
step: the channel allows every step`},
	} {
		_, findings := Explain(row.m, row.device, now)
		var lines []string
		for _, f := range findings {
			lines = append(lines, f.Rule+": "+f.Text)
		}
		want := strings.ReplaceAll(strings.TrimPrefix(row.want, "\n"), "% %", "%")
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("%+v:\n%s\nwant:\n%s", row.device, got, want)
		}
	}
}
