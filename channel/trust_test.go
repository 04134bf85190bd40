package channel

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/digest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTrust_RoundTrip(t *testing.T) {
	c := acme()
	c.Expires = now.Add(time.Hour)
	org := trust(t, c, "root")
	if org.Org() != "acme" || org.Version() != 1 || org.Quota() != 1<<30 || !org.Issued().Equal(now) ||
		!org.Expires().Equal(c.Expires) {
		t.Errorf("trust is of org %s, version %d, quota %d, %s to %s",
			org.Org(), org.Version(), org.Quota(), org.Issued(), org.Expires())
	}
	if org.Digest() != digest.Sum(org.Raw()) {
		t.Error("the document's digest is not that of its bytes")
	}
	for app, want := range map[string]bool{
		"com.acme.shop": true, "com.acme.other": true, "com.bank": true, "com.acme": false, "com.acmeshop": false,
		"com.bank.more": false,
	} {
		if got := org.HasApp(app); got != want {
			t.Errorf("the org claims %s: %v, want %v", app, got, want)
		}
	}
	for where, want := range map[[2]string][]string{
		{"com.acme.shop", "production"}: {"release"},
		{"com.acme.shop", "beta-2"}:     {"ci", "release"},
		{"com.acme.shop", "beta"}:       {"release"},
		{"com.acme.other", "nightly"}:   {"ci"},
		{"com.acme.other", "stable"}:    nil,
		{"com.initech", "beta-2"}:       nil,
	} {
		var got []string
		for _, r := range org.Roles(where[0], where[1]) {
			got = append(got, r.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("roles for %v are %v, want %v", where, got, want)
		}
	}
	org.Roles("com.acme.shop", "production")[0].Apps[0] = "*"
	if org.HasApp("com.initech") {
		t.Error("a caller changed the trust document through the roles it was given")
	}
}

func TestTrust_RolesAndRootsAreChecked(t *testing.T) {
	rows := map[string]func(*TrustConfig){
		"no org":               func(c *TrustConfig) { c.Org = "" },
		"org is a path":        func(c *TrustConfig) { c.Org = "../acme" },
		"version out of range": func(c *TrustConfig) { c.Version = MaxSequence + 1 },
		"not issued":           func(c *TrustConfig) { c.Issued = time.Time{} },
		"expires before":       func(c *TrustConfig) { c.Expires = c.Issued },
		"negative quota":       func(c *TrustConfig) { c.Quota = -1 },
		"no root":              func(c *TrustConfig) { c.Roots = nil },
		"root twice":           func(c *TrustConfig) { c.Roots = append(c.Roots, c.Roots...) },
		"root is no key":       func(c *TrustConfig) { c.Roots = append(c.Roots, PublicKey{}) },
		"root threshold":       func(c *TrustConfig) { c.Threshold = 2 },
		"negative threshold":   func(c *TrustConfig) { c.Threshold = -1 },
		"role without name":    func(c *TrustConfig) { c.Roles[0].Name = "" },
		"two of one name":      func(c *TrustConfig) { c.Roles[0].Name = "bank" },
		"role without keys":    func(c *TrustConfig) { c.Roles[0].Keys = nil },
		"unknown key":          func(c *TrustConfig) { c.Roles[0].Keys = ids("mallory") },
		"key twice":            func(c *TrustConfig) { c.Roles[0].Keys, c.Roles[0].Threshold = ids("ci", "ci"), 2 },
		"role threshold":       func(c *TrustConfig) { c.Roles[1].Threshold = 3 },
		"no apps":              func(c *TrustConfig) { c.Roles[0].Apps = nil },
		"no channels":          func(c *TrustConfig) { c.Roles[0].Channels = nil },
		"star in the middle":   func(c *TrustConfig) { c.Roles[0].Apps = []Pattern{"com.*.shop"} },
		"two stars":            func(c *TrustConfig) { c.Roles[0].Channels = []Pattern{"beta**"} },
		"empty pattern":        func(c *TrustConfig) { c.Roles[0].Channels = []Pattern{""} },
		"app with a slash":     func(c *TrustConfig) { c.Roles[0].Apps = []Pattern{"com/acme"} },
	}
	for name, spoil := range rows {
		t.Run(name, func(t *testing.T) {
			c := acme()
			spoil(&c)
			wantCode(t, c.Validate(), CodeMalformed)
			_, err := NewTrust(c, key("root"))
			wantCode(t, err, CodeMalformed)
		})
	}
	good := payload(t, signTrust(t, acme(), "root"))
	var keys map[string]string
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(good, &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc["keys"], &keys); err != nil {
		t.Fatal(err)
	}
	// One key under two IDs would count for two.
	keys[ids("mallory")[0]] = keys[ids("root")[0]]
	for name, bad := range map[string][]byte{
		"key under another ID": edit(t, good, map[string]any{"keys": keys}),
		"member of other case": edit(t, good, map[string]any{"Threshold": 0}),
	} {
		_, err := ParseTrust(forge(t, TypeTrust, bad, "root"), now)
		if CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v, want it malformed", name, err)
		}
	}
}

func TestParseTrust_RequiresItsOwnRoots(t *testing.T) {
	c := acme()
	c.Roots, c.Threshold = public("r1", "r2", "r3"), 2
	for _, row := range []struct {
		signers []string
		want    Code
	}{
		{[]string{"r1", "r2"}, ""},
		{[]string{"r1", "r2", "r3"}, ""},
		{[]string{"r1", "r3", "mallory"}, ""}, // a root of the version before, as far as this document knows
		{[]string{"r1"}, CodeNotEnoughSignatures},
		{[]string{"r1", "r1"}, CodeNotEnoughSignatures},
		{[]string{"r1", "ci"}, CodeNotEnoughSignatures},
		{[]string{"mallory", "ann"}, CodeNotEnoughSignatures},
	} {
		_, err := ParseTrust(signTrust(t, c, row.signers...), now)
		if CodeOf(err) != row.want {
			t.Errorf("signed by %v: %v, want %q", row.signers, err, row.want)
		}
	}
	_, err := ParseTrust(flipPayload(t, signTrust(t, acme(), "root"), 8*20), now)
	if err == nil {
		t.Error("a changed payload is accepted")
	}
	_, err = ParseTrust(flipSignature(t, signTrust(t, acme(), "root"), 0, 8), now)
	wantCode(t, err, CodeBadSignature)
}

func TestParseTrust_Times(t *testing.T) {
	c := acme()
	c.Expires = now.Add(time.Hour)
	raw := signTrust(t, c, "root")
	for _, row := range []struct {
		at   time.Time
		want Code
	}{
		{now.Add(-MaxSkew), ""},
		{now.Add(-MaxSkew - time.Second), CodeNotYetValid},
		{now.Add(time.Hour - time.Second), ""},
		{now.Add(time.Hour), CodeExpired},
	} {
		_, err := ParseTrust(raw, row.at)
		wantCode(t, err, row.want)
	}
	org := must(LoadTrust(raw))(t)
	later := now.Add(2 * time.Hour)
	if _, err := org.Accept(signTrust(t, org.Next().at(later), "root"), later); err != nil {
		t.Errorf("an expired trust document cannot be succeeded: %v", err)
	}
}

func TestTrust_AcceptReplacesRootsOnlyWithTheirConsent(t *testing.T) {
	c := acme()
	c.Roots, c.Threshold = public("r1", "r2", "r3"), 2
	org := trust(t, c, "r1", "r2")
	next := org.Next().at(now)
	next.Roots, next.Threshold = public("r3", "n1", "n2"), 2

	for _, row := range []struct {
		signers []string
		want    Code
	}{
		{[]string{"r1", "r2", "n1", "n2"}, ""},
		{[]string{"r1", "r3", "n1"}, ""}, // r3 is in both, and signs once for both
		{[]string{"r1", "r2"}, CodeNotEnoughSignatures},
		{[]string{"r1", "r2", "n1"}, CodeNotEnoughSignatures},
		{[]string{"n1", "n2"}, CodeNotEnoughSignatures},
		{[]string{"r1", "n1", "n2"}, CodeNotEnoughSignatures},
		{[]string{"mallory", "n1", "n2"}, CodeNotEnoughSignatures},
	} {
		got, err := org.Accept(signTrust(t, next, row.signers...), now)
		if CodeOf(err) != row.want {
			t.Errorf("signed by %v: %v, want %q", row.signers, err, row.want)
		}
		if row.want == "" && (got == nil || got.Version() != 2) {
			t.Errorf("signed by %v: version 2 is not in force", row.signers)
		}
	}
	two := must(org.Accept(signTrust(t, next, "r1", "r2", "n1", "n2"), now))(t)
	_, err := two.Accept(signTrust(t, two.Next().at(now), "r1", "r2"), now)
	wantCode(t, err, CodeNotEnoughSignatures)
	if _, err := two.Accept(signTrust(t, two.Next().at(now), "n1", "n2"), now); err != nil {
		t.Errorf("the new roots have no say: %v", err)
	}
}

func TestTrust_NextDropsTheKeyOfARemovedRoot(t *testing.T) {
	c := acme()
	c.Roots = public("root", "bank") // bank is in a role too
	org := trust(t, c, "root")
	next := org.Next().at(now)
	next.Roots = public("new")
	org = must(org.Accept(signTrust(t, next, "root", "new"), now))(t)
	for name, want := range map[string]Code{"root": CodeUnknownKey, "bank": CodeWrongApp, "new": CodeWrongRole} {
		_, err := org.VerifyManifest(sign(t, shop(t, "beta-1", "1.0.0"), name), now)
		wantCode(t, err, want)
	}
}

func TestTrust_AcceptOrdersVersions(t *testing.T) {
	org := trust(t, acme(), "root")
	if same, err := org.Accept(org.Raw(), now); err != nil || same != org {
		t.Errorf("the document in force is not accepted again: %v", err)
	}
	cosigned := must(Cosign(org.Raw(), key("ann")))(t)
	if same, err := org.Accept(cosigned, now); err != nil || same != org {
		t.Errorf("the same statement with one signature more is not the same: %v", err)
	}
	other := acme()
	other.Quota = 1
	_, err := org.Accept(signTrust(t, other, "root"), now)
	wantCode(t, err, CodeEquivocation)

	foreign := org.Next().at(now)
	foreign.Org = "initech"
	_, err = org.Accept(signTrust(t, foreign, "root"), now)
	wantCode(t, err, CodeWrongOrg)

	late := org.Next().at(now)
	late.Version = 9
	nine := must(org.Accept(signTrust(t, late, "root"), now))(t)
	for _, version := range []uint64{1, 2, 8} {
		late.Version = version
		_, err := nine.Accept(signTrust(t, late, "root"), now)
		wantCode(t, err, CodeTrustVersionNotHigher)
	}
}

func TestTrust_NextKeepsEverything(t *testing.T) {
	c := acme()
	c.Expires = now.Add(time.Hour)
	first := edit(t, payload(t, signTrust(t, c, "root")), map[string]any{"region": "eu"})
	first = bytes.Replace(first, []byte(`"name":"ci"`), []byte(`"name":"ci","hours":[9,17.50]`), 1)
	org := must(ParseTrust(forge(t, TypeTrust, first, "root"), now))(t)

	c = org.Next()
	c.Issued, c.Expires = org.Issued(), org.Expires()
	second := payload(t, signTrust(t, c, "root"))
	want := object(t, edit(t, first, map[string]any{"version": 2}))
	if diff := cmp.Diff(want, object(t, second)); diff != "" {
		t.Errorf("the next version says something else:\n%s", diff)
	}
}

func TestPattern_OnlyTheEndIsWild(t *testing.T) {
	for _, row := range []struct {
		pattern Pattern
		name    string
		want    bool
	}{
		{"*", "anything", true},
		{"com.acme.*", "com.acme.shop", true},
		{"com.acme.*", "com.acme.shop.more", true},
		{"com.acme.*", "com.acme", false},
		{"com.acme.*", "com.acmeshop", false},
		{"com.acme.*", "evil.com.acme.shop", false},
		{"beta-*", "beta-1", true},
		{"beta-*", "beta", false},
		{"beta", "beta-1", false},
		{"beta", "Beta", false},
		{"production", "production", true},
	} {
		if got := row.pattern.Match(row.name); got != row.want {
			t.Errorf("%s holds %s: %v, want %v", row.pattern, row.name, got, row.want)
		}
		if err := row.pattern.check("app", MaxApp); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckApp_NamesAreSafeInAPath(t *testing.T) {
	for _, good := range []string{
		"a", "com.acme.shop", "com.acme.Shop_2-x", "9f3ab21c", "a.b-", strings.Repeat("a", MaxApp),
	} {
		if err := CheckApp(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "a..b", ".a", "a.", "-a", "_a", "a/b", `a\b`, "a b", "a%2e", "a\x00", "é", "*",
		strings.Repeat("a", MaxApp+1),
	} {
		wantCode(t, CheckApp(bad), CodeMalformed)
	}
	wantCode(t, CheckChannel(strings.Repeat("a", MaxChannel+1)), CodeMalformed)
	wantCode(t, CheckOrg(strings.Repeat("a", MaxOrg+1)), CodeMalformed)
}

// The hint says what is wrong with the version, and not what is wrong with most.
func TestCheckVersion_HintsAtTheFault(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "without the leading v", "1.2.3 ": "space", " 1.2.3": "space", "2024.05.01": "leading zeros",
		"1.02.3": "leading zeros", "1.0.53-0123456": "prerelease", "1.0.0-rc.01": "prerelease", "1.2": "2 numbers",
		"1.2.3.4": "4 numbers", "1.2.3.4-beta": "4 numbers", "": "three numbers", "latest": "three numbers",
		"1.x.0": "three numbers", "1.2.3-": "three numbers", "1..3": "three numbers",
	} {
		refused, ok := errors.AsType[*RefusedError](CheckVersion(version))
		if !ok || !strings.Contains(refused.Hint, want) {
			t.Errorf("CheckVersion(%q) = %v, want a hint about %q", version, refused, want)
		}
	}
	for _, hint := range []string{"1.4.0", "2024.5.1", "1.4.0-g0123456", "1.5.0-beta.2"} { // what hints propose
		if err := CheckVersion(hint); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckVersion_ThreeNumbersNoV(t *testing.T) {
	for _, good := range []string{"0.0.0", "1.4.0", "1.5.0-beta.2", "1.5.0+7", "1.5.0-rc.1+7"} {
		if err := CheckVersion(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "v1.4.0", "1", "1.4", "1.4.0.1", "01.4.0", "1.4.0-", "1.4.0-01", "latest",
		"1.4.0-" + strings.Repeat("a", MaxVersion),
	} {
		wantCode(t, CheckVersion(bad), CodeMalformed)
	}
}

// TestTrust_Thresholds signs with any keys for any roles, and compares with the rule told another way.
func TestTrust_Thresholds(t *testing.T) {
	people := []string{"ci", "ann", "bob", "bank", "idle"}
	apps := [][]Pattern{{"*"}, {"com.acme.*"}, {"com.other", "com.acme.shop"}, {"com.other"}}
	channels := [][]Pattern{{"*"}, {"beta-*"}, {"production"}}
	rapid.Check(t, func(rt *rapid.T) {
		c := acme()
		c.Roles = nil
		holds := make(map[string]bool) // whether a role's signers suffice, by role name
		signers := rapid.SliceOfNDistinct(rapid.SampledFrom(people), 1, len(people), rapid.ID).Draw(rt, "signers")
		for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(0, 3).Draw(rt, "roles")] {
			members := rapid.SliceOfNDistinct(rapid.SampledFrom(people), 1, len(people), rapid.ID).Draw(rt, "members")
			r := Role{
				Name: name, Keys: ids(members...), Threshold: rapid.IntRange(1, len(members)).Draw(rt, "threshold"),
				Apps:     rapid.SampledFrom(apps).Draw(rt, "apps"),
				Channels: rapid.SampledFrom(channels).Draw(rt, "channels"),
			}
			c.Roles = append(c.Roles, r)
			both := 0
			for _, s := range signers {
				if slices.Contains(members, s) {
					both++
				}
			}
			hasApp := r.Apps[0] != "com.other" || len(r.Apps) == 2
			holds[name] = both >= r.Threshold && hasApp && r.Channels[0] != "beta-*"
		}
		want := slices.Contains(slices.Collect(maps.Values(holds)), true)
		m, err := trust(t, c, "root").VerifyManifest(sign(t, shop(t, "production", "1.0.0"), signers...), now)
		if (err == nil) != want || (m != nil) != want {
			rt.Fatalf("signed by %v: %v, want accepted: %v", signers, err, want)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	raw := signTrust(f, acme(), "root")
	f.Add(payload(f, raw))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, raw := range [][]byte{b, forge(t, TypeTrust, b, "root")} {
			var org *Trust
			var err error
			cost.Check(t, len(raw), func() { org, err = ParseTrust(raw, now) })
			if err != nil {
				if CodeOf(err) == "" {
					t.Errorf("refused without a code: %v", err)
				}
				continue
			}
			// What is accepted can be made the next version of.
			next := signTrust(t, org.Next().at(now), "root")
			if _, err := org.Accept(next, now); err != nil && org.Version() < MaxSequence {
				t.Errorf("cannot be succeeded: %v", err)
			}
		}
	})
}
