package channel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"brink/digest"
)

// attached returns the release of a version with attachments of the kinds, whose bundles are functions of both.
func attached(version string, kinds ...string) Release {
	r := release(version)
	for _, kind := range kinds {
		r.Attachments = append(r.Attachments, Attachment{Kind: kind, Bundle: digest.Sum([]byte(kind + version)), Size: 900})
	}
	return r
}

func TestRelease_Attachment(t *testing.T) {
	r := attached("1.5.0", "zip", "capgo")
	if a := r.Attachment("capgo"); a != &r.Attachments[1] {
		t.Errorf("the attachment of kind capgo is %+v", a)
	}
	if a := r.Attachment("tar"); a != nil {
		t.Errorf("an attachment of kind tar is %+v", a)
	}
}

// TestManifest_KeepsAttachments follows a release with an attachment through what a channel does with it.
func TestManifest_KeepsAttachments(t *testing.T) {
	beta := must(shop(t, "beta", "1.4.0").Publish(attached("1.5.0", "zip"), now))(t)
	production := must(shop(t, "production", "1.4.0").Promote(beta, now))(t)
	back := must(must(production.Publish(release("1.6.0"), now))(t).RollBack("", now))(t)
	amended := back.Release
	amended.Comment = "the zip stays"
	for name, m := range map[string]*Manifest{
		"published": beta, "promoted": production, "rolled back to": back, "amended": must(back.Amend(amended, now))(t),
		"reverted": must(back.Revert(now))(t),
	} {
		got := signed(t, m).Release.Attachment("zip")
		if got == nil || got.Bundle != digest.Sum([]byte("zip1.5.0")) || got.Size != 900 {
			t.Errorf("%s: the zip is %+v", name, got)
		}
	}
	// An attachment can come later, with the same bundle.
	late := attached("1.4.0", "zip")
	if m := must(shop(t, "production", "1.4.0").Amend(late, now))(t); m.Release.Attachment("zip") == nil {
		t.Error("an attachment that came later is not there")
	}
	if _, err := SignManifest(must(production.Publish(attached("1.6.0", "zip"), now))(t), key("ann")); err != nil {
		t.Error(err)
	}
}

func TestSignManifest_RefusesAttachments(t *testing.T) {
	for name, spoil := range map[string]func(*Release){
		"no kind":         func(r *Release) { r.Attachments[0].Kind = "" },
		"long kind":       func(r *Release) { r.Attachments[0].Kind = strings.Repeat("z", MaxKind+1) },
		"kind of a path":  func(r *Release) { r.Attachments[0].Kind = "../zip" },
		"capital letters": func(r *Release) { r.Attachments[0].Kind = "Zip" },
		"no bundle":       func(r *Release) { r.Attachments[0].Bundle = digest.Digest{} },
		"no size":         func(r *Release) { r.Attachments[0].Size = 0 },
		"one kind twice":  func(r *Release) { r.Attachments[1].Kind = "zip" },
		"too many": func(r *Release) {
			*r = attached("1.5.0", "a", "b", "c", "d", "e")
		},
	} {
		r := attached("1.5.0", "zip", "capgo")
		spoil(&r)
		_, err := shop(t, "production", "1.4.0").Publish(r, now)
		wantCode(t, err, CodeMalformed)
		m := shop(t, "production", "1.4.0", "1.5.0")
		m.Release = r
		if _, err := SignManifest(m, key("ann")); CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v, want it malformed", name, err)
		}
	}
	longest := strings.Repeat("z", MaxKind)
	if _, err := shop(t, "production", "1.4.0").Publish(attached("1.5.0", longest, "a", "0", "-"), now); err != nil {
		t.Errorf("the longest kind and the most attachments: %v", err)
	}
}

// TestManifest_RequiredBundles reads as what has to be on a node before it takes a manifest.
func TestManifest_RequiredBundles(t *testing.T) {
	m := shop(t, "production", "1.2.0", "1.3.0")
	m = must(m.Publish(attached("1.4.0", "zip"), now))(t)
	rolling := must(m.Roll(attached("1.5.0", "zip", "capgo"), Rollout{Share: 100}, now))(t)
	pinned := must(m.SetOverride(Override{Device: production.HashDevice("a"), Version: "1.2.0"}, now))(t)
	twice := must(must(pinned.SetOverride(Override{Device: production.HashDevice("b"), Version: "1.2.0"}, now))(t).
		SetOverride(Override{Device: production.HashDevice("c")}, now))(t)
	for _, row := range []struct {
		name string
		m    *Manifest
		want string
	}{
		{"one release, nothing attached", shop(t, "production", "1.0.0"), "1.0.0"},
		{"what was served before is not needed", m, "1.4.0 zip1.4.0"},
		{"a rollout gives two releases", rolling, "1.5.0 zip1.5.0 capgo1.5.0 1.4.0 zip1.4.0"},
		{"complete, it gives one", must(rolling.CompleteRollout(now))(t), "1.5.0 zip1.5.0 capgo1.5.0"},
		{"an override gives another", pinned, "1.4.0 zip1.4.0 1.2.0"},
		{"none twice", twice, "1.4.0 zip1.4.0 1.2.0"},
		{"reverted, the release is on web sites still", must(m.Revert(now))(t), "1.4.0 zip1.4.0"},
	} {
		names := map[digest.Digest]string{}
		for r := range row.m.Releases() {
			names[r.Bundle] = r.Version
			for _, a := range r.Attachments {
				names[a.Bundle] = a.Kind + r.Version
			}
		}
		var got []string
		for id := range row.m.RequiredBundles() {
			got = append(got, names[id])
		}
		if text := strings.Join(got, " "); text != row.want {
			t.Errorf("%s: it needs %s, want %s", row.name, text, row.want)
		}
		for range row.m.RequiredBundles() {
			break
		}
	}
}

// TestManifest_RequiredBundlesAreWhatADeviceCanGet asks for devices of any kind: the release that one gets is among
// those that are needed.
func TestManifest_RequiredBundlesAreWhatADeviceCanGet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLife(rt, t)
		m := l.manifests[len(l.manifests)-1]
		got := Resolve(m, drawDevice(rt), drawTime(rt))
		needs := slices.Collect(m.RequiredBundles())
		if got.Release != nil && !slices.Contains(needs, got.Release.Bundle) {
			rt.Fatalf("a device is sent to %s, which is not among the %d needed of %s",
				got.Release.Version, len(needs), versions(m))
		}
		for i, id := range needs {
			if slices.Contains(needs[:i], id) {
				rt.Fatalf("%s is needed twice", id)
			}
		}
	})
}

// TestManifest_LargestWithAttachments holds the bound of a manifest where every release has all that it may have.
func TestManifest_LargestWithAttachments(t *testing.T) {
	m := NewManifest("acme", "com.acme.shop", "production")
	for i := range MaxHistory + 1 {
		var kinds []string
		for k := range MaxAttachments {
			kinds = append(kinds, fmt.Sprintf("%0*d", MaxKind, k))
		}
		r := attached(fmt.Sprintf("1.%d.0", i), kinds...)
		r.Link, r.Comment = "https://"+strings.Repeat("a", MaxLink-8), strings.Repeat("b", MaxComment)
		m = must(m.Publish(r, now))(t)
	}
	for i := range MaxOverrides {
		o := Override{Custom: production.HashCustom(fmt.Sprint(i)), Version: m.Release.Version}
		m = must(m.SetOverride(o, now))(t)
	}
	sign(t, m, "ann", "bob")
}
