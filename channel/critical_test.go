package channel

import (
	"encoding/json"
	"testing"
)

// TestManifest_UnknownCriticalMembersStopReaders: such a manifest is accepted, so that nothing older comes back,
// and decides nothing but to stay; nothing is made from it.
func TestManifest_UnknownCriticalMembersStopReaders(t *testing.T) {
	org := trust(t, acme(), "root")
	with := func(names ...string) *Manifest {
		plain := payload(t, sign(t, shop(t, "beta-1", "1.0.0"), "ci"))
		members := map[string]any{"critical": names, "plan": json.RawMessage(`{"steps":[]}`)}
		return must(org.VerifyManifest(forge(t, TypeManifest, edit(t, plain, members), "ci"), now))(t)
	}
	m := with("release", "plan")
	if d := Resolve(m, Device{}, now); d.Kind != None || d.Reason != ReasonNeedsUpdate {
		t.Errorf("a device gets %+v", d)
	}
	if _, findings := Explain(m, Device{}, now); len(findings) != 1 || findings[0].Rule != "critical" {
		t.Errorf("explained as %+v", findings)
	}
	if seen := must(State{App: m.App, Channel: m.Channel}.Accept(m))(t); seen.Sequence != 1 {
		t.Errorf("the device remembers %+v", seen)
	}
	next := must(m.Publish(release("1.1.0"), now))(t)
	_, err := SignManifest(next, key("ci"))
	wantCode(t, err, CodeNeedsUpdate)

	known := with("rollout", "rules")
	if d := Resolve(known, Device{}, now); d.Kind != Update {
		t.Errorf("with members that are known a device gets %+v", d)
	}
	if _, err := SignManifest(must(known.Publish(release("1.1.0"), now))(t), key("ci")); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]string{{""}, {"a", "a"}, make([]string, maxCritical+1)} {
		known.Critical = bad
		if CodeOf(known.check()) != CodeMalformed {
			t.Errorf("critical %q: %v", bad, known.check())
		}
	}
}

// TestManifest_HoldsNoRawIDs: who reads the manifest of an override finds no ID in it, and two channels do not name a
// device alike.
func TestManifest_HoldsNoRawIDs(t *testing.T) {
	const id = "0b5c9a3e-7d2f-4c7e-9d0a-1f2e3d4c5b6a"
	m := shop(t, "production", "1.0.0", "1.1.0")
	for _, o := range []Override{{Device: m.HashDevice(id), Version: "1.0.0"}, {Custom: m.HashCustom("ann@acme.example")}} {
		m = must(m.SetOverride(o, now))(t)
	}
	m = signed(t, m)
	if text := string(payload(t, m.Raw())); containsAny(text, id, "ann@") {
		t.Errorf("the manifest has an ID in it: %s", text)
	}
	if d := Resolve(m, Device{ID: id, Version: "1.1.0"}, now); d.Release == nil || d.Release.Version != "1.0.0" {
		t.Errorf("the device gets %+v", d)
	}
	if m.HashDevice(id) == shop(t, "beta-1", "1.0.0").HashDevice(id) || m.HashDevice(id) == m.HashCustom(id) {
		t.Error("an ID has one name in two places")
	}
	if n := testing.AllocsPerRun(100, func() { Resolve(m, Device{ID: id, Custom: "c"}, now) }); n != 0 {
		t.Errorf("Resolve allocates %v times", n)
	}
	for _, id := range []string{"", "a\nb", "\xff", string(make64(MaxID + 1))} {
		wantCode(t, CheckID(id), CodeMalformed)
	}
}
