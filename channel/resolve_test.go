package channel

import (
	"fmt"
	"testing"
	"time"
)

// TestResolve reads as the rules: the channel serves 1.5.0 to phones with a native app of 3.0.0 to 4.9.9, and one that
// was rolled back serves 1.4.0 in place of 1.5.0.
func TestResolve(t *testing.T) {
	latest := shop(t, "production", "1.4.0", "1.5.0")
	latest.Expires = now.Add(time.Hour)
	latest.Release.Native = map[Platform]Limit{IOS: {Min: "3.0.0", Max: "4.9.9"}, Android: {Min: "3.0.0"}}
	back := must(latest.RollBack("", now))(t)
	fixed := must(back.Publish(release("1.4.1"), now))(t)
	above := must(fixed.Publish(release("1.6.0"), now))(t)

	r150, r140 := release("1.5.0").Bundle, release("1.4.0").Bundle
	for _, row := range []struct {
		name   string
		m      *Manifest
		device Device
		kind   Kind
		reason Reason
	}{
		// What it runs.
		{"runs the release", latest, Device{Version: "1.5.0", Bundle: r150}, UpToDate, ""},
		{"runs its bundle under another name", latest, Device{Version: "builtin", Bundle: r150}, UpToDate, ""},
		{"runs its version, bundle unknown", latest, Device{Version: "1.5.0"}, UpToDate, ""},
		{"runs its version with another bundle", latest, Device{Version: "1.5.0", Bundle: r140}, Update, ""},
		{"runs an earlier release", latest, Device{Version: "1.4.0", Bundle: r140}, Update, ""},
		{"runs a pre-release of it", latest, Device{Version: "1.5.0-beta.2"}, Update, ""},
		{"runs nothing known", latest, Device{}, Update, ""},
		{"runs no semver", latest, Device{Version: "builtin"}, Update, ""},
		{"runs a higher version", latest, Device{Version: "1.5.1"}, None, ReasonAhead},

		// The native app around it.
		{"iOS within", latest, Device{Platform: IOS, Native: "3.2.1", Version: "1.4.0"}, Update, ""},
		{"iOS, lowest", latest, Device{Platform: IOS, Native: "3.0.0", Version: "1.4.0"}, Update, ""},
		{"iOS, highest", latest, Device{Platform: IOS, Native: "4.9.9", Version: "1.4.0"}, Update, ""},
		{"iOS, short version", latest, Device{Platform: IOS, Native: "3", Version: "1.4.0"}, Update, ""},
		{"iOS too old", latest, Device{Platform: IOS, Native: "2.9.9", Version: "1.4.0"}, None, ReasonNativeTooOld},
		{"iOS beta of the lowest", latest, Device{Platform: IOS, Native: "3.0.0-rc.1"}, None, ReasonNativeTooOld},
		{"iOS too new", latest, Device{Platform: IOS, Native: "5.0.0", Version: "1.4.0"}, None, ReasonNativeTooNew},
		{"iOS unknown", latest, Device{Platform: IOS, Version: "1.4.0"}, None, ReasonNativeUnknown},
		{"iOS, four numbers", latest, Device{Platform: IOS, Native: "3.0.0.1"}, None, ReasonNativeUnknown},
		{"Android, no upper limit", latest, Device{Platform: Android, Native: "99.0.0", Version: "1.4.0"}, Update, ""},
		{"web has no limits", latest, Device{Platform: Web, Version: "1.4.0"}, Update, ""},
		{"too old, but runs it", latest, Device{Platform: IOS, Native: "2.0.0", Bundle: r150}, UpToDate, ""},

		// After a rollback.
		{"runs what was taken back", back, Device{Version: "1.5.0", Bundle: r150}, Rollback, ""},
		{"runs something between", back, Device{Version: "1.4.7"}, Rollback, ""},
		{"runs what is served again", back, Device{Version: "1.4.0", Bundle: r140}, UpToDate, ""},
		{"runs what is older still", back, Device{Version: "1.3.0"}, Update, ""},
		{"runs what the channel never had", back, Device{Version: "2.0.0"}, None, ReasonAhead},
		{"slept through it, fix below", fixed, Device{Version: "1.5.0"}, Rollback, ""},
		{"was there, fix below", fixed, Device{Version: "1.4.0"}, Update, ""},
		{"slept through it, fix above", above, Device{Version: "1.5.0"}, Update, ""},
	} {
		got := Resolve(row.m, row.device, now)
		if got.Kind != row.kind || got.Reason != row.reason {
			t.Errorf("%s: %s %s, want %s %s", row.name, got.Kind, got.Reason, row.kind, row.reason)
		}
		moves := row.kind == Update || row.kind == Rollback
		if moves && got.Release != &row.m.Release || !moves && got.Release != nil {
			t.Errorf("%s: %s comes with release %v", row.name, got.Kind, got.Release)
		}
	}
	late := Resolve(latest, Device{Version: "1.4.0"}, latest.Expires)
	if late.Kind != None || late.Reason != ReasonExpired {
		t.Errorf("an expired manifest gives %+v", late)
	}
}

func TestResolve_DoesNotAllocate(t *testing.T) {
	m := must(shop(t, "production", "1.4.0", "1.5.0-beta.10").RollBack("", now))(t)
	m.Release.Native = map[Platform]Limit{IOS: {Min: "3.0.0", Max: "4.9.9"}}
	ruled := must(shop(t, "production", "1.4.0", "1.5.0-beta.10").Roll(release("1.5.0"), Rollout{Share: 5000}, now))(t)
	ruled.Rules = Rules{Platforms: []Platform{Android, IOS}, NoEmulators: true, MaxStep: StepMinor, NotUnderNative: true}
	for i := range MaxOverrides {
		ruled.Overrides = append(ruled.Overrides, Override{Custom: production.HashCustom(fmt.Sprint(i)), Version: "1.4.0"})
	}
	device := Device{ID: near("1.5.0", 100), Platform: IOS, Native: "3.2.1", Version: "1.5.0-beta.10"}
	low := device
	low.Native = "1.3.0"
	numbers := *ruled
	numbers.Rules = Rules{Default: []Platform{IOS}, SelfAssign: true, MaxStep: StepNumber, MinNative: "1.3.0"}
	reverted := must(m.Revert(now))(t)
	for _, row := range []struct {
		m      *Manifest
		device Device
		want   string
	}{
		{m, device, "rollback 1.4.0"},
		{ruled, low, "update 1.5.0"},
		{&numbers, low, "update 1.5.0"},
		{reverted, device, "built_in"},
	} {
		if got := at(row.m, row.device, now); got != row.want {
			t.Fatalf("the device gets %s, want %s", got, row.want)
		}
		if n := testing.AllocsPerRun(100, func() { Resolve(row.m, row.device, now) }); n != 0 {
			t.Errorf("Resolve allocates %v times for %s", n, row.want)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	plain := shop(b, "production", "1.4.0", "1.5.0")
	ruled := must(plain.Roll(release("1.6.0"), Rollout{Share: 5000}, now))(b)
	ruled.Rules = Rules{Platforms: []Platform{IOS}, MaxStep: StepMinor, NotUnderNative: true}
	for i := range MaxOverrides {
		ruled.Overrides = append(ruled.Overrides, Override{Device: production.HashDevice(fmt.Sprint(i))})
	}
	device := Device{ID: "00009a6b-eefe-490a-9c60-8e965132ae51", Platform: IOS, Native: "1.0.0", Version: "1.4.0"}
	for name, m := range map[string]*Manifest{"plain": plain, "ruled": ruled} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Resolve(m, device, now)
			}
		})
	}
}
