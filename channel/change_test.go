package channel

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestManifest_Operations tells the life of a channel; each step starts from what the one before left.
func TestManifest_Operations(t *testing.T) {
	publish := func(v string) func(*Manifest) (*Manifest, error) {
		return func(m *Manifest) (*Manifest, error) { return m.Publish(release(v), now) }
	}
	rollBack := func(v string) func(*Manifest) (*Manifest, error) {
		return func(m *Manifest) (*Manifest, error) { return m.RollBack(v, now) }
	}
	otherBundle := func(v string) func(*Manifest) (*Manifest, error) {
		return func(m *Manifest) (*Manifest, error) {
			r := release(v)
			r.Bundle = release("other").Bundle
			return m.Publish(r, now)
		}
	}
	renamed := func(from, to string) func(*Manifest) (*Manifest, error) {
		return func(m *Manifest) (*Manifest, error) {
			r := release(from)
			r.Version = to
			return m.Publish(r, now)
		}
	}
	amend := func(m *Manifest) (*Manifest, error) {
		r := m.Release
		r.Comment = "better told"
		return m.Amend(r, now)
	}
	m := NewManifest("acme", "com.acme.shop", "production")
	for i, step := range []struct {
		name string
		do   func(*Manifest) (*Manifest, error)
		want string // what is served, then the history; empty if refused
		code Code
	}{
		{"nothing to roll back to", rollBack(""), "", CodeNotInHistory},
		{"first release", publish("1.3.0"), "1.3.0", ""},
		{"still nothing to roll back to", rollBack(""), "", CodeNotInHistory},
		{"second release", publish("1.4.0"), "1.4.0 1.3.0", ""},
		{"third release", publish("1.5.0"), "1.5.0 1.4.0 1.3.0", ""},
		{"served version, other bundle", otherBundle("1.5.0"), "", CodeVersionTaken},
		{"earlier version, other bundle", otherBundle("1.4.0"), "", CodeVersionTaken},
		{"same precedence, other name", publish("1.5.0+7"), "", CodeVersionTaken},
		{"same bundle, other name", renamed("1.5.0", "1.5.0+7"), "", CodeVersionTaken},
		{"lower version", publish("1.4.5"), "", CodeDowngrade},
		{"earlier release again", publish("1.4.0"), "", CodeDowngrade},
		{"no version at all", publish("latest"), "", CodeMalformed},
		{"unknown version", rollBack("1.2.0"), "", CodeNotInHistory},
		{"1.5.0 was bad", rollBack(""), "1.4.0 1.5.0 1.3.0 rollback (withdrawn 1.5.0)", ""},
		{"rollback is no way up", rollBack("1.5.0"), "", CodeNotInHistory},
		{"a word about it", amend, "1.4.0 1.5.0 1.3.0 (withdrawn 1.5.0)", ""},
		{"so was 1.4.0", rollBack(""), "1.3.0 1.4.0 1.5.0 rollback (withdrawn 1.5.0)", ""},
		{"a fix below", publish("1.4.1"), "1.4.1 1.3.0 1.4.0 1.5.0 (withdrawn 1.5.0)", ""},
		{"withdrawn version, other bundle", otherBundle("1.5.0"), "", CodeVersionTaken},
		{"1.5.0 was good after all", publish("1.5.0"), "1.5.0 1.4.1 1.3.0 1.4.0", ""},
		{"back to a named release", rollBack("1.3.0"), "1.3.0 1.5.0 1.4.1 1.4.0 rollback (withdrawn 1.5.0)", ""},
		{"a fix above", publish("1.6.0"), "1.6.0 1.3.0 1.5.0 1.4.1 1.4.0", ""},
		{"1.6.0 too", rollBack(""), "1.3.0 1.6.0 1.5.0 1.4.1 1.4.0 rollback (withdrawn 1.6.0)", ""},
	} {
		before := versions(m)
		next, err := step.do(m)
		if CodeOf(err) != step.code || (err == nil) != (step.code == "") {
			t.Fatalf("step %d, %s: %v, want %q", i, step.name, err, step.code)
		}
		if versions(m) != before {
			t.Fatalf("step %d, %s changed the manifest it started from", i, step.name)
		}
		if err != nil {
			continue
		}
		if got := versions(next); got != step.want || next.Sequence != m.Sequence+1 {
			t.Fatalf("step %d, %s: %s at sequence %d, want %s", i, step.name, got, next.Sequence, step.want)
		}
		m = next
	}
}

func TestManifest_WhatIsServedIsUnchanged(t *testing.T) {
	m := shop(t, "production", "1.3.0", "1.4.0")
	again := release("1.4.0")
	again.Created, again.Comment = now.Add(time.Hour), "published from another machine"
	if _, err := m.Publish(again, now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("publishing what is served: %v", err)
	}
	if _, err := m.RollBack("1.4.0", now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("rolling back to what is served: %v", err)
	}
	if _, err := m.Promote(shop(t, "beta-1", "1.4.0"), now); !errors.Is(err, ErrUnchanged) {
		t.Errorf("promoting what is served: %v", err)
	}
}

func TestManifest_PromoteCopiesTheRelease(t *testing.T) {
	beta := shop(t, "beta-1", "1.5.0-beta.1", "1.5.0")
	production := shop(t, "production", "1.4.0")
	next := must(production.Promote(beta, now))(t)
	if got := versions(next); got != "1.5.0 1.4.0" || next.Channel != "production" || next.Sequence != 2 {
		t.Errorf("production serves %s as %s %d", got, next.Channel, next.Sequence)
	}
	_, err := beta.Promote(production, now)
	wantCode(t, err, CodeDowngrade)
	foreign := *beta
	foreign.App = "com.acme.other"
	_, err = production.Promote(&foreign, now)
	wantCode(t, err, CodeWrongApp)
	foreign.Org = "initech"
	_, err = production.Promote(&foreign, now)
	wantCode(t, err, CodeWrongOrg)
	_, err = production.Promote(NewManifest("acme", "com.acme.shop", "beta-2"), now)
	wantCode(t, err, CodeMalformed)
}

func TestManifest_PublishSharesNoMemory(t *testing.T) {
	r := release("1.4.0")
	r.Native = map[Platform]Limit{IOS: {Min: "3.0.0"}}
	one := must(NewManifest("acme", "com.acme.shop", "production").Publish(r, now))(t)
	two := must(one.Publish(release("1.5.0"), now))(t)
	r.Native[IOS] = Limit{Min: "9.0.0"}
	one.Release.Native[Android] = Limit{Min: "9.0.0"}
	three := must(two.Publish(release("1.6.0"), now))(t)
	three.History[1].Native[Web] = Limit{Min: "9.0.0"}
	if len(two.History[0].Native) != 1 || two.History[0].Native[IOS].Min != "3.0.0" {
		t.Errorf("a published release was changed from outside: %v", two.History[0].Native)
	}
	if one.Release.Native[IOS].Min != "3.0.0" {
		t.Error("the manifest shares memory with the caller's release")
	}
}

func TestManifest_AmendKeepsVersionAndBundle(t *testing.T) {
	m := shop(t, "production", "1.3.0", "1.4.0")
	r := m.Release
	r.Native = map[Platform]Limit{IOS: {Min: "3.0.0"}}
	next := must(m.Amend(r, now))(t)
	r.Native[IOS] = Limit{Min: "9.0.0"}
	if next.Release.Native[IOS].Min != "3.0.0" || m.Release.Native != nil || next.Sequence != 3 {
		t.Error("amended manifest shares memory with the caller's release")
	}
	_, err := m.Amend(release("1.5.0"), now)
	wantCode(t, err, CodeVersionTaken)
	r = m.Release
	r.Bundle = release("other").Bundle
	_, err = m.Amend(r, now)
	wantCode(t, err, CodeVersionTaken)
	r = m.Release
	r.Size = 0
	_, err = m.Amend(r, now)
	wantCode(t, err, CodeMalformed)
}

func TestManifest_NextIsIssuedNowAndLastsAsLong(t *testing.T) {
	m := shop(t, "production", "1.3.0")
	m.Expires = m.Issued.Add(30 * 24 * time.Hour)
	m = signed(t, m)
	later := now.Add(36*time.Hour + time.Millisecond)
	next := must(m.Publish(release("1.4.0"), later))(t)
	if !next.Issued.Equal(now.Add(36*time.Hour)) || next.Expires.Sub(next.Issued) != 30*24*time.Hour {
		t.Errorf("issued %s, expires %s", next.Issued, next.Expires)
	}
	if next.Raw() != nil || !next.Statement().IsZero() || !next.Digest().IsZero() {
		t.Error("what is not signed has the bytes of what was")
	}
}

// TestManifest_NoDeviceIsStrandedOrMovedDownForNothing lets a channel live any life, and checks every device that saw
// any moment of it against every later moment, whatever it missed in between.
func TestManifest_NoDeviceIsStrandedOrMovedDownForNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := signed(t, shop(t, "production", "1.0.0"))
		life := []*Manifest{m}
		// A rollback from one version to another; everything above the second, up to the first, was taken back.
		type taken struct{ from, to string }
		var back []taken
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			var next *Manifest
			var err error
			switch rapid.IntRange(0, 3).Draw(rt, "operation") {
			case 0, 1:
				minor := rapid.IntRange(0, 6).Draw(rt, "minor")
				next, err = m.Publish(release(fmt.Sprintf("1.%d.0", minor)), now)
			case 2:
				version := ""
				if n := len(m.History); n > 0 && rapid.Bool().Draw(rt, "by version") {
					version = m.History[rapid.IntRange(0, n-1).Draw(rt, "which")].Version
				}
				if next, err = m.RollBack(version, now); err == nil {
					back = append(back, taken{m.Release.Version, next.Release.Version})
				}
			case 3:
				next, err = m.Amend(m.Release, now)
			}
			if err != nil {
				continue
			}
			m = signed(t, next)
			life = append(life, m)
		}
		for i, seen := range life {
			device := State{App: seen.App, Channel: seen.Channel, Version: seen.Release.Version}
			device = must(device.Accept(seen))(t)
			for _, later := range life[i+1:] {
				if err := Newer(seen, later); err != nil {
					rt.Fatalf("a node with %s refuses %s: %v", versions(seen), versions(later), err)
				}
				if _, err := device.Accept(later); err != nil {
					rt.Fatalf("a device that runs %s refuses %s: %v", device.Version, versions(later), err)
				}
				got := Resolve(later, Device{Version: device.Version}, now)
				want := Update
				switch CompareVersions(later.Release.Version, device.Version) {
				case 0:
					want = UpToDate
				case -1:
					want = Rollback
				}
				if got.Kind != want {
					rt.Fatalf("a device with %s gets %v of %s, want %s", device.Version, got, versions(later), want)
				}
				_, err := device.Accept(life[0])
				if i > 0 && CodeOf(err) != CodeSequenceNotHigher {
					rt.Fatalf("a device that has seen sequence %d accepts the first manifest: %v", seen.Sequence, err)
				}
			}
		}
		// A device with any version at all, its own builds among them.
		minor, patch := rapid.IntRange(0, 7).Draw(rt, "minor"), rapid.IntRange(0, 1).Draw(rt, "patch")
		version := fmt.Sprintf("1.%d.%d", minor, patch)
		got := Resolve(m, Device{Version: version}, now)
		_, err := State{App: m.App, Channel: m.Channel, Version: version}.Accept(m)
		if (got.Kind == None) != (CodeOf(err) == CodeDowngrade) {
			rt.Fatalf("a node says %v and a device with %s says %v", got, version, err)
		}
		if got.Kind == Rollback {
			allowed := false
			for _, b := range back {
				allowed = allowed || CompareVersions(version, b.from) <= 0
			}
			if !allowed || CompareVersions(version, m.Release.Version) <= 0 {
				rt.Fatalf("a device with %s is moved down to %s, and nothing took its version back: %v",
					version, m.Release.Version, back)
			}
		}
	})
}
