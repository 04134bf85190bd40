package channel

import (
	"errors"
	"fmt"
	"testing"
)

// TestOverride reads as what an override does: the channel serves 1.6.0 to nobody yet, and to no browser ever.
func TestOverride(t *testing.T) {
	m := shop(t, "production", "1.3.0", "1.4.0", "1.5.0")
	r := release("1.6.0")
	r.Native = map[Platform]Limit{IOS: {Min: "3.0.0"}}
	m = must(m.Roll(r, Rollout{}, now))(t)
	m = must(m.SetRules(Rules{Platforms: []Platform{IOS}, MaxStep: StepMinor, NotUnderNative: true}, now))(t)
	for _, o := range []Override{
		{Device: production.HashDevice("tester")}, {Device: production.HashDevice("pinned"), Version: "1.4.0"}, {Custom: production.HashCustom("shop-7"), Version: "1.3.0"},
	} {
		m = must(m.SetOverride(o, now))(t)
	}
	m = signed(t, m)
	private := signed(t, must(m.SetRules(Rules{Private: true}, now))(t))
	back := must(m.RollBack("1.3.0", now))(t)
	back = signed(t, must(back.SetOverride(Override{Device: production.HashDevice("tester"), Version: "1.6.0"}, now))(t))

	for _, row := range []struct {
		name   string
		m      *Manifest
		device Device
		want   string
	}{
		{"not named", m, Device{ID: "other", Platform: IOS, Native: "3.0.0", Version: "1.4.0"}, "none under_native"},
		{"gets what is served, before the rollout", m, Device{ID: "tester", Version: "1.5.0"}, "update 1.6.0"},
		{"whatever its platform", m, Device{ID: "tester", Platform: Web}, "update 1.6.0"},
		{"whatever the step", m, Device{ID: "tester", Version: "0.1.0"}, "update 1.6.0"},
		{"but not with too old a native app", m, Device{ID: "tester", Platform: IOS, Native: "2.0.0"}, "none native_too_old"},
		{"stays at its version", m, Device{ID: "pinned", Version: "1.4.0"}, "up_to_date"},
		{"comes up to it", m, Device{ID: "pinned", Version: "1.3.0"}, "update 1.4.0"},
		{"comes down to it", m, Device{ID: "pinned", Version: "1.6.0"}, "rollback 1.4.0"},
		{"comes down from what the channel never had", m, Device{ID: "pinned", Version: "1.5.9"}, "rollback 1.4.0"},
		{"not from above all of the channel", m, Device{ID: "pinned", Version: "7.0.0"}, "none ahead"},
		{"named by its custom ID", m, Device{ID: "a", Custom: "shop-7", Version: "1.5.0"}, "rollback 1.3.0"},
		{"its ID counts before the custom one", m, Device{ID: "pinned", Custom: "shop-7"}, "update 1.4.0"},
		{"an ID is no custom ID", m, Device{ID: "shop-7", Custom: "pinned"}, "none platform_not_allowed"},
		{"no ID is nobody's", m, Device{Platform: Web}, "none platform_not_allowed"},
		{"a private channel is for those it names", private, Device{ID: "tester"}, "update 1.6.0"},
		{"and for no others", private, Device{ID: "other"}, "none private_channel"},
		{"up to what was taken back", back, Device{ID: "tester", Version: "1.3.0"}, "update 1.6.0"},
	} {
		if got := at(row.m, row.device, now); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestManifest_SetOverride(t *testing.T) {
	m := shop(t, "production", "1.4.0", "1.5.0")
	one := must(m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.4.0"}, now))(t)
	if _, err := one.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.4.0"}, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same again: %v", err)
	}
	two := must(one.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.5.0"}, now))(t)
	if len(two.Overrides) != 1 || two.Overrides[0].Version != "1.5.0" || one.Overrides[0].Version != "1.4.0" {
		t.Errorf("from %+v to %+v", one.Overrides, two.Overrides)
	}
	if none := must(two.RemoveOverride(Override{Device: production.HashDevice("a")}, now))(t); len(none.Overrides) != 0 {
		t.Errorf("removed, and there is %+v", none.Overrides)
	}
	if _, err := two.RemoveOverride(Override{Custom: production.HashCustom("a")}, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("removing what is not there: %v", err)
	}
	_, err := m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.3.0"}, now)
	wantCode(t, err, CodeNotInHistory)
	for _, bad := range []Override{
		{}, {Device: production.HashDevice("a"), Custom: production.HashCustom("b")}, {Device: production.HashDevice("")},
	} {
		_, err := m.SetOverride(bad, now)
		wantCode(t, err, CodeMalformed)
	}
	for i := range MaxOverrides {
		m = must(m.SetOverride(Override{Device: production.HashDevice(fmt.Sprint(i))}, now))(t)
	}
	_, err = m.SetOverride(Override{Device: production.HashDevice("one more")}, now)
	wantCode(t, err, CodeMalformed)
}

func TestOverride_EndsWithItsRelease(t *testing.T) {
	m := must(shop(t, "production", "1.0.0").SetOverride(Override{Device: production.HashDevice("a"), Version: "1.0.0"}, now))(t)
	m = must(m.SetOverride(Override{Device: production.HashDevice("b")}, now))(t)
	for i := range MaxHistory {
		m = must(m.Publish(release(fmt.Sprintf("1.%d.0", i+1)), now))(t)
	}
	if len(m.Overrides) != 2 {
		t.Fatalf("overrides are %+v while the history has their release", m.Overrides)
	}
	m = signed(t, must(m.Publish(release("2.0.0"), now))(t))
	if len(m.Overrides) != 1 || m.Overrides[0].Device != production.HashDevice("b") {
		t.Errorf("overrides are %+v", m.Overrides)
	}
}
