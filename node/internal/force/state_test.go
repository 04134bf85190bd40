package force

import (
	"testing"

	"brink/channel"
	"brink/digest"
)

const testApp = "com.acme.shop"

func TestState_ServingReturnsManifestsOfABundle(t *testing.T) {
	a, b, other := digest.Sum([]byte("a")), digest.Sum([]byte("b")), digest.Sum([]byte("other"))
	s := NewState()
	s.set(&channel.Manifest{
		App: testApp, Channel: "production",
		Release: channel.Release{Bundle: b}, History: []channel.Release{{Bundle: a}},
	})
	s.set(&channel.Manifest{App: testApp, Channel: "beta", Release: channel.Release{Bundle: b}})
	for id, want := range map[digest.Digest]int{a: 1, b: 2, other: 0} {
		if got := s.Serving(id); len(got) != want {
			t.Errorf("%d channels serve %s, want %d", len(got), id.Short(), want)
		}
	}
}

// TestState_RemovesBundlesThatNoManifestNames fails if entries stay behind.
func TestState_RemovesBundlesThatNoManifestNames(t *testing.T) {
	s := NewState()
	release := func(i byte) channel.Release {
		return channel.Release{
			Version: "1.0.0", Bundle: digest.Digest{i}, SHA256: digest.SHA256{i}, Size: 1,
			Attachments: []channel.Attachment{{Kind: "zip", Bundle: digest.Digest{i, 1}, Size: 1}},
		}
	}
	var last *channel.Manifest
	for i := range byte(100) {
		last = &channel.Manifest{
			Org: "acme", App: testApp, Channel: "production", Sequence: uint64(i), Release: release(i + 1),
			History: []channel.Release{release(i)},
		}
		end := s.Expect(last)
		s.set(last)
		end()
	}
	if names, bases := len(s.named.byBundle), len(s.named.bases); names != 4 || bases != 2 {
		t.Errorf("%d bundles and %d dictionaries are named, want 4 and 2", names, bases)
	}
	s.lapse(last)
	if len(s.named.byBundle)+len(s.named.bases)+len(s.byApp) > 0 {
		t.Errorf("without a channel there are still %d bundles named", len(s.named.byBundle))
	}
}

func TestState_ChargesForAttachments(t *testing.T) {
	release := func(version string, bundle byte, zip byte) channel.Release {
		return channel.Release{
			Version: version, Bundle: digest.Digest{bundle}, Size: 100,
			Attachments: []channel.Attachment{{Kind: "zip", Bundle: digest.Digest{zip}, Size: 10}},
		}
	}
	s := NewState()
	s.set(&channel.Manifest{
		Org: "acme", App: testApp, Channel: "production", Release: release("1.1.0", 1, 11),
		History: []channel.Release{release("1.0.0", 2, 11)}, // the same zip
	})
	s.set(&channel.Manifest{Org: "acme", App: testApp, Channel: "beta", Release: release("1.1.0", 1, 12)})
	s.set(&channel.Manifest{Org: "initech", App: "com.initech", Channel: "beta", Release: release("1.1.0", 3, 13)})
	if got := total(s.chargeNamed("acme")); got != 220 {
		t.Errorf("the org has %d bytes, want 220: two bundles and two zips", got)
	}
}
