package channel

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/digest"
)

var update = flag.Bool("update", false, "update golden files")

// TestResolve_ManifestsWithoutRulesDecideAsBefore reads what the first version of Brink signed, and what it decided for
// many devices: testdata/before was written by it, and is never updated.
func TestResolve_ManifestsWithoutRulesDecideAsBefore(t *testing.T) {
	for _, name := range []string{"latest", "back", "fixed"} {
		raw := must(os.ReadFile(filepath.Join("testdata", "before", name+".json")))(t)
		m := must(ParseManifest(raw))(t)
		if again := sign(t, m, "ann", "bob"); string(again) != string(raw) {
			t.Errorf("%s is written in another way: %s", name, payload(t, again))
		}
		want := string(must(os.ReadFile(filepath.Join("testdata", "before", name+".txt")))(t))
		if got := decisions(m); got != want {
			for i, line := range strings.Split(want, "\n") {
				if now := strings.Split(got, "\n")[i]; now != line {
					t.Errorf("%s: %s, want %s", name, now, line)
				}
			}
		}
	}
}

// TestManifest_Golden has what is signed, as docs/protocol.md shows it. A member that is renamed is a member that
// devices out there do not know.
func TestManifest_Golden(t *testing.T) {
	m := shop(t, "production", "1.3.0", "1.4.0")
	r := attached("1.5.0", "zip", "capgo")
	r.Native = map[Platform]Limit{IOS: {Min: "3.0.0", Max: "4.9.9"}, Android: {Min: "2.1.0"}}
	r.Mandatory, r.Link, r.Comment = true, "https://acme.example/1.5.0", "faster checkout"
	m = must(m.Roll(r, Rollout{Share: 1250, Starts: now.Add(time.Hour), Ends: now.Add(48 * time.Hour)}, now))(t)
	m = must(m.SetRules(Rules{
		Platforms: []Platform{IOS, Android}, NoEmulators: true, NoDevelopment: true, NotUnderNative: true,
		MaxStep: StepNumber, MinNative: "2.0.0", Default: []Platform{IOS}, SelfAssign: true,
	}, now))(t)
	for _, o := range []Override{{Device: production.HashDevice("5f0c21"), Version: "1.4.0"}, {Device: production.HashDevice("7a11e0"), BuiltIn: true}, {Custom: production.HashCustom("till-7")}} {
		m = must(m.SetOverride(o, now))(t)
	}
	m.Expires = now.Add(30 * 24 * time.Hour)
	for name, m := range map[string]*Manifest{"manifest": m, "reverted": must(m.Revert(now))(t)} {
		var b bytes.Buffer
		if err := json.Indent(&b, payload(t, sign(t, m, "ann", "bob")), "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		path := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want := must(os.ReadFile(path))(t)
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s is signed differently (-update updates it):\n%s", name, diff)
		}
		// The page must say what a device does.
		read := must(ParseManifest(forge(t, TypeManifest, want, "ann")))(t)
		if read.Release.Attachment("zip") == nil || versions(read) != versions(m) || len(read.Overrides) != 3 {
			t.Errorf("%s is read as %s", name, versions(read))
		}
	}
}

// decisions has one line for each of many devices.
func decisions(m *Manifest) string {
	var b strings.Builder
	for _, platform := range []Platform{"", IOS, Android, Web} {
		for _, native := range []string{"", "2.0.0", "3.2", "5.0.0"} {
			for _, version := range []string{"", "builtin", "1.3.0", "1.4.0", "1.4.7", "1.5.0-beta.2", "1.5.0", "2.0.0"} {
				for _, bundle := range []digest.Digest{{}, release("1.5.0").Bundle} {
					d := Device{Platform: platform, Native: native, Version: version, Bundle: bundle}
					got := Resolve(m, d, now)
					fmt.Fprintf(&b, "%q %q %q %s: %s %s", platform, native, version, bundle.Short(), got.Kind, got.Reason)
					if got.Release != nil {
						b.WriteString(got.Release.Version)
					}
					b.WriteString("\n")
				}
			}
		}
	}
	return b.String()
}
