package channel

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// life is what a channel went through: each manifest as it was in force, and what rollbacks took back on the way.
type life struct {
	manifests []*Manifest
	back      []taken
}

// taken is one rollback: everything above the second version, up to the first.
type taken struct{ from, to string }

// drawLife lets a channel live any life that its operations allow.
func drawLife(rt *rapid.T, t *testing.T) life {
	m := signed(t, shop(t, "production", "1.0.0"))
	l := life{manifests: []*Manifest{m}}
	for range rapid.IntRange(1, 10).Draw(rt, "steps") {
		next, err := drawStep(rt, m)
		if err != nil {
			continue
		}
		if next.Rollback {
			l.back = append(l.back, taken{m.Release.Version, next.Release.Version})
		}
		m = signed(t, next)
		l.manifests = append(l.manifests, m)
	}
	return l
}

func drawStep(rt *rapid.T, m *Manifest) (*Manifest, error) {
	switch rapid.IntRange(0, 12).Draw(rt, "operation") {
	case 0, 1:
		return m.Publish(drawRelease(rt), now)
	case 2, 3:
		return m.Roll(drawRelease(rt), drawRollout(rt, Rollout{}), now)
	case 4:
		return m.RollBack(drawVersion(rt, m), now)
	case 5:
		return m.AbortRollout(now)
	case 6:
		return m.CompleteRollout(now)
	case 7, 8:
		var to Rollout
		if m.Rollout != nil {
			to = *m.Rollout
		}
		return m.SetRollout(drawRollout(rt, to), now)
	case 9:
		return m.Revert(now)
	case 10:
		return m.SetOverride(Override{Device: m.HashDevice(drawID(rt)), BuiltIn: true}, now)
	case 11:
		return m.SetOverride(Override{Device: m.HashDevice(drawID(rt)), Version: drawVersion(rt, m)}, now)
	default:
		return m.RemoveOverride(Override{Device: m.HashDevice(drawID(rt))}, now)
	}
}

func drawRelease(rt *rapid.T) Release {
	return release(fmt.Sprintf("1.%d.0", rapid.IntRange(0, 8).Draw(rt, "minor")))
}

// drawVersion draws a version of the manifest's, or none.
func drawVersion(rt *rapid.T, m *Manifest) string {
	list := []string{""}
	for r := range m.Releases() {
		list = append(list, r.Version)
	}
	return rapid.SampledFrom(list).Draw(rt, "version")
}

func drawRollout(rt *rapid.T, r Rollout) Rollout {
	r.Share = rapid.SampledFrom([]int{0, 2000, 5000, 8000, Everyone}).Draw(rt, "share")
	r.Paused = rapid.Bool().Draw(rt, "paused")
	r.Starts = rapid.SampledFrom([]time.Time{{}, now.Add(time.Hour)}).Draw(rt, "starts")
	r.Ends = rapid.SampledFrom([]time.Time{{}, now.Add(2 * time.Hour)}).Draw(rt, "ends")
	return r
}

// drawID draws the ID of one of a few devices, or none.
func drawID(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(rt, "device")
}

func drawTime(rt *rapid.T) time.Time {
	return now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "hours")) * time.Hour)
}

// allowsDown reports whether something in the life of the channel says that the device should leave version for the
// release it is sent to. It is a second opinion: it looks at what was done, and not at what the manifest remembers.
func (l life) allowsDown(m *Manifest, d Device, to *Release) bool {
	for _, b := range l.back {
		if CompareVersions(d.Version, b.from) <= 0 {
			return true
		}
	}
	if m.Rollout != nil && to.Version == m.Rollout.From {
		return true
	}
	for _, o := range m.Overrides {
		if d.ID != "" && o.Device == m.HashDevice(d.ID) && o.Version == to.Version {
			return true
		}
	}
	return false
}

// allowsBuiltIn reports whether the manifest says, to all devices or to this one, that it should go back to what its
// native app came with.
func (l life) allowsBuiltIn(m *Manifest, d Device) bool {
	for _, o := range m.Overrides {
		if d.ID != "" && o.Device == m.HashDevice(d.ID) {
			return o.BuiltIn || m.BuiltIn && o.Version == ""
		}
	}
	return m.BuiltIn
}

// TestLife_AFollowerIsNeverStranded follows a device through any life of a channel with rollouts, schedules, overrides,
// rollbacks and reverts. It may miss any number of manifests, and always: accepts the next one it sees; is told to run
// exactly one release of it, and is content with that once it does; moves down only where it was told to; and is never
// sent where it would refuse to be.
func TestLife_AFollowerIsNeverStranded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLife(rt, t)
		device := Device{ID: drawID(rt), BuiltIn: true}
		state := State{App: "com.acme.shop", Channel: "production"}
		previous := l.manifests[0]
		for _, m := range l.manifests {
			if rapid.IntRange(0, 2).Draw(rt, "asleep") == 0 {
				continue
			}
			if m != previous {
				if err := Newer(previous, m); err != nil {
					rt.Fatalf("a node with %s refuses %s: %v", versions(previous), versions(m), err)
				}
				previous = m
			}
			accepted, err := state.Accept(m)
			if err != nil {
				rt.Fatalf("a device that runs %s refuses %s: %v", device.Version, versions(m), err)
			}
			state = accepted
			when := drawTime(rt)
			got := Resolve(m, device, when)
			switch got.Kind {
			case None:
				if got.Reason != ReasonNotInRollout || m.Rollout.From != "" {
					rt.Fatalf("a device with %s is left alone by %s: %s", device.Version, versions(m), got.Reason)
				}
				continue
			case UpToDate:
				continue
			case BuiltIn:
				if !l.allowsBuiltIn(m, device) {
					rt.Fatalf("a device with %s goes back to the built-in by %s", device.Version, versions(m))
				}
			case Update:
				if CompareVersions(got.Release.Version, device.Version) < 0 {
					rt.Fatalf("an update from %s to %s", device.Version, got.Release.Version)
				}
			case Rollback:
				if CompareVersions(got.Release.Version, device.Version) >= 0 || !l.allowsDown(m, device, got.Release) {
					rt.Fatalf("a rollback from %s to %s by %s", device.Version, got.Release.Version, versions(m))
				}
			}
			// It moves.
			device = Device{ID: device.ID, BuiltIn: got.Kind == BuiltIn}
			if got.Release != nil {
				device.Version, device.Bundle = got.Release.Version, got.Release.Bundle
			}
			state.Version = device.Version
			if _, err := state.Accept(m); err != nil {
				rt.Fatalf("a device was sent to %q, and refuses the manifest now: %v", device.Version, err)
			}
			paused := m.Rollout != nil && m.Rollout.Paused
			if again := Resolve(m, device, when); again.Kind != UpToDate && !paused {
				rt.Fatalf("a device was sent to %q, and is told to %s then", device.Version, again.Kind)
			}
		}
	})
}

// TestLife_NoDeviceIsSentWhereItWouldRefuseToGo asks for devices with any version at all, under any rules, and compares
// what a node says with what the device itself says.
func TestLife_NoDeviceIsSentWhereItWouldRefuseToGo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLife(rt, t)
		m := l.manifests[len(l.manifests)-1]
		if next, err := m.SetRules(drawRules(rt), now); err == nil {
			m = signed(t, next)
		}
		device, when := drawDevice(rt), drawTime(rt)
		got := Resolve(m, device, when)
		_, err := State{App: m.App, Channel: m.Channel, Version: device.Version}.Accept(m)
		moves := got.Release != nil
		if moves != (got.Kind == Update || got.Kind == Rollback) || (got.Kind == None) != (got.Reason != "") {
			rt.Fatalf("decision %+v does not fit together", got)
		}
		if got.Kind == BuiltIn && (err != nil || device.BuiltIn || !l.allowsBuiltIn(m, device)) {
			rt.Fatalf("%+v goes back to the built-in by %s: %v", device, versions(m), err)
		}
		if moves && err != nil {
			rt.Fatalf("a device with %s is sent to %s, and refuses: %v", device.Version, got.Release.Version, err)
		}
		if moves && m.release(got.Release.Version) != got.Release {
			rt.Fatalf("a device is sent to %s, which is not of %s", got.Release.Version, versions(m))
		}
		if got.Kind == Rollback && !l.allowsDown(m, device, got.Release) {
			rt.Fatalf("a rollback from %s to %s by %s", device.Version, got.Release.Version, versions(m))
		}
		explained, findings := Explain(m, device, when)
		if explained != got || len(findings) == 0 {
			rt.Fatalf("explained as %+v, and it is %+v", explained, got)
		}
		for _, f := range findings {
			if f.Rule == "" || f.Text == "" {
				rt.Fatalf("a finding without words: %+v", findings)
			}
		}
	})
}

func drawRules(rt *rapid.T) Rules {
	flag := func(name string) bool { return rapid.IntRange(0, 4).Draw(rt, name) == 0 }
	r := Rules{
		Private: flag("private"), NoEmulators: flag("no emulators"), NoDevices: flag("no devices"),
		NoProduction: flag("no production"), NoDevelopment: flag("no development"), NotUnderNative: flag("not under"),
		MaxStep:   rapid.SampledFrom([]Step{"", StepNone, StepPatch, StepMinor, StepMajor, StepNumber}).Draw(rt, "step"),
		MinNative: rapid.SampledFrom([]string{"", "1.0.0", "1.5.0"}).Draw(rt, "lowest native"),
	}
	if flag("platforms") {
		r.Platforms = []Platform{IOS}
	}
	if !r.Private {
		r.SelfAssign = rapid.Bool().Draw(rt, "self-assign")
		if flag("default") {
			r.Default = []Platform{IOS}
		}
	}
	return r
}

func drawDevice(rt *rapid.T) Device {
	version := rapid.SampledFrom([]string{
		"", "builtin", "0.9.0", "1.0.0", "1.1.0", "1.1.1", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0",
		"1.7.0", "1.8.0", "2.0.0",
	})
	d := Device{
		ID:          drawID(rt),
		Platform:    rapid.SampledFrom([]Platform{"", IOS, Web}).Draw(rt, "platform"),
		Native:      rapid.SampledFrom([]string{"", "1", "1.4", "1.9.0"}).Draw(rt, "native"),
		Version:     version.Draw(rt, "runs"),
		BuiltIn:     rapid.IntRange(0, 3).Draw(rt, "built-in") == 0,
		Emulator:    rapid.Bool().Draw(rt, "emulator"),
		Development: rapid.Bool().Draw(rt, "development"),
	}
	if rapid.Bool().Draw(rt, "bundle") {
		d.Bundle = release(version.Draw(rt, "bundle of")).Bundle
	}
	return d
}
