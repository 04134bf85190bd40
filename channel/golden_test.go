package channel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brink/digest"
)

// TestResolve_ManifestsWithoutRulesDecideAsBefore reads what the first version of Brink signed, and what it decided for
// many devices: testdata/before was written by it, and is never written anew.
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
