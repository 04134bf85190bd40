package channel

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

func TestManifest_RoundTrip(t *testing.T) {
	m := shop(t, "production", "1.3.0", "1.4.0", "1.5.0")
	m.Expires = now.Add(24 * time.Hour)
	m.Release.Native = map[Platform]Limit{IOS: {Min: "3.0.0", Max: "4.9.9"}, Android: {Min: "2.1.0"}, "tvos": {}}
	m.Release.Mandatory = true
	m.Release.Link, m.Release.Comment = "https://acme.example/1.5.0", "Fix <b>&amp;</b> \u2028"
	m.Release.Attachments = attached("1.5.0", "zip", "capgo").Attachments
	m = must(m.RollBack("", now))(t)
	m = must(m.SetRollout(Rollout{Share: 1250, Paused: true, Starts: now, Ends: now.Add(time.Hour)}, now))(t)
	rules := Rules{
		Platforms: []Platform{IOS, "tvos"}, Default: []Platform{"tvos"}, SelfAssign: true, MaxStep: StepNumber, MinNative: "2.0.0",
	}
	m = must(m.SetRules(rules, now))(t)
	m = must(m.SetOverride(Override{Custom: production.HashCustom("<é>"), Version: "1.3.0"}, now))(t)
	m = must(m.SetOverride(Override{Device: production.HashDevice("a"), BuiltIn: true}, now))(t)
	got := must(trust(t, acme(), "root").VerifyManifest(sign(t, m, "ann", "bob"), now))(t)
	opaque := cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && strings.ToLower(f.Name()[:1]) == f.Name()[:1]
	}, cmp.Ignore())
	if diff := cmp.Diff(m, got, opaque); diff != "" {
		t.Errorf("manifest came back otherwise:\n%s", diff)
	}
	var seen []string
	for r := range got.Releases() {
		seen = append(seen, r.Version)
	}
	if diff := cmp.Diff([]string{"1.4.0", "1.5.0", "1.3.0"}, seen); diff != "" {
		t.Error(diff)
	}
	for range got.Releases() {
		break
	}
}

func TestSignManifest_RefusesWhatVerifyWould(t *testing.T) {
	for name, spoil := range map[string]func(*Manifest){
		"serves nothing":        func(m *Manifest) { *m = *NewManifest("acme", "com.acme.shop", "beta-1") },
		"no org":                func(m *Manifest) { m.Org = "" },
		"bad app":               func(m *Manifest) { m.App = "a/b" },
		"bad channel":           func(m *Manifest) { m.Channel = ".." },
		"no sequence":           func(m *Manifest) { m.Sequence = 0 },
		"sequence out of range": func(m *Manifest) { m.Sequence = MaxSequence + 1 },
		"not issued":            func(m *Manifest) { m.Issued = time.Time{} },
		"expires before":        func(m *Manifest) { m.Expires = m.Issued.Add(-1) },
		"bad version":           func(m *Manifest) { m.Release.Version = "1.5" },
		"no bundle":             func(m *Manifest) { m.Release.Bundle = [32]byte{} },
		"no SHA-256":            func(m *Manifest) { m.Release.SHA256 = [32]byte{} },
		"no size":               func(m *Manifest) { m.Release.Size = 0 },
		"not created":           func(m *Manifest) { m.Release.Created = time.Time{} },
		"script for a link":     func(m *Manifest) { m.Release.Link = "javascript:alert(1)" },
		"long link":             func(m *Manifest) { m.Release.Link = "https://" + strings.Repeat("a", MaxLink) },
		"long comment":          func(m *Manifest) { m.Release.Comment = strings.Repeat("a", MaxComment+1) },
		"bad native limit":      func(m *Manifest) { m.Release.Native = map[Platform]Limit{IOS: {Min: "3"}} },
		"empty native range": func(m *Manifest) {
			m.Release.Native = map[Platform]Limit{IOS: {Min: "3.0.0", Max: "2.0.0"}}
		},
		"bad platform":  func(m *Manifest) { m.Release.Native = map[Platform]Limit{"": {}} },
		"bad history":   func(m *Manifest) { m.History[0].Files = 0 },
		"version twice": func(m *Manifest) { m.History[0].Version = "1.5.0+7" },
		"long history": func(m *Manifest) {
			for i := range MaxHistory {
				m.History = append(m.History, release(fmt.Sprintf("0.0.%d", i)))
			}
		},
		"rollback from nowhere": func(m *Manifest) { m.Rollback = true },
		"withdrawn is served":   func(m *Manifest) { m.Withdrawn = "1.5.0" },
		"bad withdrawn":         func(m *Manifest) { m.Withdrawn = "all" },
		"unknown step":          func(m *Manifest) { m.Rules.MaxStep = "huge" },
		"bad lowest native":     func(m *Manifest) { m.Rules.MinNative = "3" },
		"bad default":           func(m *Manifest) { m.Rules.Default = []Platform{"a/b"} },
		"private default":       func(m *Manifest) { m.Rules.Private, m.Rules.Default = true, []Platform{IOS} },
		"private, and chosen":   func(m *Manifest) { m.Rules.Private, m.Rules.SelfAssign = true, true },
		"default for others":    func(m *Manifest) { m.Rules = Rules{Platforms: []Platform{Web}, Default: []Platform{IOS}} },
		"built-in, and from":    func(m *Manifest) { m.BuiltIn, m.Rollout = true, &Rollout{From: "1.4.0"} },
		"override to two": func(m *Manifest) {
			m.Overrides = []Override{{Device: production.HashDevice("a"), Version: "1.4.0", BuiltIn: true}}
		},
		"share out of range":    func(m *Manifest) { m.Rollout = &Rollout{Share: Everyone + 1, From: "1.4.0"} },
		"rollout from nowhere":  func(m *Manifest) { m.Rollout = &Rollout{From: "1.3.0"} },
		"rollout from itself":   func(m *Manifest) { m.Rollout = &Rollout{From: "1.5.0"} },
		"rollout ends first":    func(m *Manifest) { m.Rollout = &Rollout{Starts: now, Ends: now.Add(-time.Hour)} },
		"withdrawn is for some": func(m *Manifest) { m.Rollout, m.Withdrawn = &Rollout{From: "1.4.0"}, "1.4.0" },
		"override of nobody":    func(m *Manifest) { m.Overrides = []Override{{Version: "1.4.0"}} },
		"override to nowhere":   func(m *Manifest) { m.Overrides = []Override{{Device: production.HashDevice("a"), Version: "1.3.0"}} },
		"two overrides of one": func(m *Manifest) {
			m.Overrides = []Override{{Device: production.HashDevice("a")}, {Device: production.HashDevice("a"), Version: "1.4.0"}}
		},
		"override above all": func(m *Manifest) {
			m.Release, m.History = m.History[0], []Release{m.Release}
			m.Overrides = []Override{{Device: production.HashDevice("a"), Version: "1.5.0"}}
		},
	} {
		m := shop(t, "beta-1", "1.4.0", "1.5.0")
		spoil(m)
		_, err := SignManifest(m, key("ci"))
		if CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v, want it malformed", name, err)
		}
	}
	if _, err := SignManifest(shop(t, "beta-1", "1.0.0")); err == nil {
		t.Error("a manifest was signed by nobody")
	}
}

func TestManifest_LargestIsWithinBounds(t *testing.T) {
	m := NewManifest("acme", "com.acme.shop", "production")
	for i := range MaxHistory + 5 {
		r := release(fmt.Sprintf("1.%d.0", i))
		r.Link, r.Comment = "https://"+strings.Repeat("a", MaxLink-8), strings.Repeat("b", MaxComment)
		m = must(m.Publish(r, now))(t)
	}
	if len(m.History) != MaxHistory || m.History[MaxHistory-1].Version != "1.4.0" {
		t.Errorf("history is %s", versions(m))
	}
	for i := range MaxOverrides {
		o := Override{Custom: production.HashCustom(fmt.Sprint(i)), Version: m.Release.Version}
		m = must(m.SetOverride(o, now))(t)
	}
	sign(t, m, "ann", "bob")
}

func TestManifest_CheckFor(t *testing.T) {
	m := shop(t, "beta-1", "1.0.0")
	wantCode(t, m.CheckFor("com.acme.shop", "beta-1"), "")
	wantCode(t, m.CheckFor("com.acme.other", "beta-1"), CodeWrongApp)
	wantCode(t, m.CheckFor("com.acme.shop", "production"), CodeWrongChannel)
}

func TestNewer_IsOfTheSameChannelAndHigher(t *testing.T) {
	one := signed(t, shop(t, "production", "1.4.0"))
	with := func(change func(*Manifest)) *Manifest {
		m := *must(one.Publish(release("1.5.0"), now))(t)
		change(&m)
		return signed(t, &m)
	}
	rows := map[string]struct {
		next *Manifest
		want Code
	}{
		"the next":           {with(func(*Manifest) {}), ""},
		"one much later":     {with(func(m *Manifest) { m.Sequence = 40 }), ""},
		"itself":             {one, CodeSequenceNotHigher},
		"another first":      {signed(t, shop(t, "production", "1.5.0")), CodeEquivocation},
		"another org":        {with(func(m *Manifest) { m.Org = "initech" }), CodeWrongOrg},
		"another app":        {with(func(m *Manifest) { m.App = "com.acme.other" }), CodeWrongApp},
		"another channel":    {with(func(m *Manifest) { m.Channel = "beta" }), CodeWrongChannel},
		"lower without word": {with(func(m *Manifest) { m.Release = release("1.3.0") }), CodeDowngrade},
		"lower, taken back": {with(func(m *Manifest) {
			m.Release, m.Withdrawn = release("1.3.0"), "1.5.0"
			m.History = nil
		}), ""},
		"lower, less taken back": {with(func(m *Manifest) {
			m.Release, m.Withdrawn = release("1.2.0"), "1.3.0"
			m.History = nil
		}), CodeDowngrade},
	}
	for name, row := range rows {
		if err := Newer(one, row.next); CodeOf(err) != row.want {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	wantCode(t, Newer(rows["the next"].next, one), CodeSequenceNotHigher)
}

// members draws members that this version has no field for, with values that do not survive a detour over float64.
func members(t *rapid.T, label string) unknown {
	value := rapid.SampledFrom([]string{
		`null`, `1.50`, `18446744073709551617`, `"a"`, `"<&>"`, `"é\u2028"`,
		`[{"sequence":3},[]]`, `{"version":"x","z":{}}`,
	})
	drawn := rapid.MapOfN(rapid.StringMatching(`x-[a-zé]{1,5}`), value, 0, 3).Draw(t, label)
	u := make(unknown)
	for name, text := range drawn {
		u[name] = json.RawMessage(text)
	}
	return u
}

func TestManifest_UnknownMembersSurviveEveryOperation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := shop(t, "production", "1.3.0", "1.4.0", "1.5.0")
		m.Release.Native = map[Platform]Limit{Web: {Min: "1.0.0"}}
		top := members(rt, "top")
		m.unknown = top
		want := make(map[string]unknown) // by version
		for r := range m.Releases() {
			r.unknown = members(rt, r.Version)
			want[r.Version] = r.unknown
		}
		rules, rollout, override := members(rt, "rules"), members(rt, "rollout"), members(rt, "override")
		m.Rules.unknown = rules
		m.Rollout = &Rollout{From: "1.4.0", unknown: rollout}
		m.Overrides = []Override{{Device: production.HashDevice("a"), unknown: override}}
		attachment := members(rt, "attachment")
		m.Release.Attachments = []Attachment{{Kind: "zip", Bundle: release("z").Bundle, Size: 1, unknown: attachment}}
		limit := members(rt, "limit")
		m.Release.Native[Web] = Limit{Min: "1.0.0", unknown: limit}

		// Another tool reads it, changes the channel, and writes it.
		m = signed(t, m)
		served := rapid.SampledFrom([]string{
			"publish", "roll back", "revert", "amend", "promote", "roll", "set rollout", "set rules", "set override",
		}).Draw(rt, "operation")
		var next *Manifest
		switch served {
		case "publish":
			next = must(m.Publish(release("1.6.0"), now))(t)
		case "roll back":
			next = must(m.RollBack("", now))(t)
		case "revert":
			next = must(m.Revert(now))(t)
		case "amend":
			r := m.Release
			r.Comment = "amended"
			next = must(m.Amend(r, now))(t)
		case "promote":
			next = must(shop(t, "beta-1", "1.0.0").Promote(m, now))(t)
			top, rules, override = nil, nil, nil // a release is promoted, and not what the channel says beside it
		case "roll":
			done := *m
			done.Rollout = nil
			next = must(done.Roll(release("1.6.0"), Rollout{}, now))(t)
		case "set rollout":
			to := *m.Rollout
			to.Share = 100
			next = must(m.SetRollout(to, now))(t)
		case "set rules":
			to := m.Rules
			to.Private = true
			next = must(m.SetRules(to, now))(t)
		case "set override":
			next = must(m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.4.0"}, now))(t)
		}
		if next.Rollout == nil || served == "roll" {
			rollout = nil // it has ended
		}
		next = signed(t, next)

		var doc struct {
			Release, Rules, Rollout map[string]json.RawMessage
			History, Overrides      []map[string]json.RawMessage
		}
		raw := payload(t, next.Raw())
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(raw, &whole); err != nil {
			t.Fatal(err)
		}
		holds := func(where string, got map[string]json.RawMessage, want unknown) {
			for name, value := range want {
				if diff := cmp.Diff(object(t, value), object(t, orNothing(got[name]))); diff != "" {
					rt.Fatalf("%s: %s lost %s:\n%s", served, where, name, diff)
				}
			}
		}
		holds("manifest", whole, top)
		holds("rules", doc.Rules, rules)
		holds("rollout", doc.Rollout, rollout)
		for _, o := range doc.Overrides {
			holds("override", o, override)
		}
		if override != nil && len(doc.Overrides) != 1 {
			rt.Fatalf("%s: there are %d overrides", served, len(doc.Overrides))
		}
		for _, r := range append(doc.History, doc.Release) {
			var version string
			if err := json.Unmarshal(r["version"], &version); err != nil {
				t.Fatal(err)
			}
			holds(version, r, want[version])
			if version == "1.5.0" {
				var native map[string]map[string]json.RawMessage
				if err := json.Unmarshal(r["native"], &native); err != nil {
					t.Fatal(err)
				}
				holds("limit", native["web"], limit)
				var attachments []map[string]json.RawMessage
				if err := json.Unmarshal(r["attachments"], &attachments); err != nil {
					t.Fatal(err)
				}
				holds("attachment", attachments[0], attachment)
			}
		}
	})
}

func orNothing(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage(`"(nothing)"`)
	}
	return raw
}

func FuzzParseManifest(f *testing.F) {
	m := shop(f, "production", "1.3.0", "1.4.0", "1.5.0")
	m.Release.Native = map[Platform]Limit{IOS: {Min: "3.0.0"}}
	f.Add(payload(f, sign(f, m, "ann")))
	f.Add(payload(f, sign(f, must(m.RollBack("", now))(f), "ann")))
	m = must(m.Roll(release("1.6.0"), Rollout{Share: 1250, Paused: true, Starts: now, Ends: now.Add(time.Hour)}, now))(f)
	m = must(m.SetRules(Rules{NoDevices: true, Platforms: []Platform{IOS}, MaxStep: StepMinor}, now))(f)
	m = must(m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.4.0"}, now))(f)
	m = must(m.SetOverride(Override{Custom: production.HashCustom("b")}, now))(f)
	f.Add(payload(f, sign(f, m, "ann")))
	r := attached("1.7.0", "zip", "capgo")
	m = must(must(m.Revert(now))(f).Roll(r, Rollout{Share: 5000}, now))(f)
	m = must(m.SetRules(Rules{Default: []Platform{IOS}, SelfAssign: true, MaxStep: StepNumber, MinNative: "3.0.0"}, now))(f)
	m = must(m.SetOverride(Override{Device: production.HashDevice("c"), BuiltIn: true}, now))(f)
	f.Add(payload(f, sign(f, m, "ann")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *Manifest
		var err error
		raw := forge(t, TypeManifest, b, "ann")
		cost.Check(t, len(raw), func() { m, err = ParseManifest(raw) })
		if err != nil {
			if CodeOf(err) == "" {
				t.Errorf("refused without a code: %v", err)
			}
			return
		}
		// What was read can be written, and says the same.
		again := must(ParseManifest(sign(t, m, "ann")))(t)
		if string(sign(t, again, "ann")) != string(again.Raw()) || versions(m) != versions(again) {
			t.Errorf("%s came back as %s", versions(m), versions(again))
		}
		for range m.RequiredBundles() {
			break
		}
		for _, d := range []Device{
			{},
			{ID: "a", Version: "1.3.0"},
			{Custom: "b", Platform: IOS, Native: "3.0.0"},
			{ID: "c", BuiltIn: true},
		} {
			if chosen, why := Choose([]*Manifest{m}, d, "", "", now); (chosen == nil) != (why == ChoiceNone) {
				t.Errorf("%+v follows %v: %s", d, chosen, why)
			}
			got := Resolve(m, d, now)
			if after := Resolve(again, d, now); got.Kind != after.Kind || got.Reason != after.Reason {
				t.Errorf("%+v gets %v, and then %v", d, got, after)
			}
			_, err := State{App: m.App, Channel: m.Channel, Version: d.Version}.Accept(m)
			if (got.Release != nil || got.Kind == BuiltIn) && err != nil {
				t.Errorf("%+v is sent away by %s, and refuses: %v", d, got.Kind, err)
			}
		}
	})
}
