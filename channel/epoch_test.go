package channel

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEpoch_RecoversABurntSequence: a stolen key has signed the highest sequence that there is, so nothing can be
// published any more. The root keys put the channel into the next epoch, where publishing works and devices follow.
func TestEpoch_RecoversABurntSequence(t *testing.T) {
	org := trust(t, acme(), "root")
	fresh := State{App: "com.acme.shop", Channel: "beta-1"}
	burnt := shop(t, "beta-1", "9.9.9")
	burnt.Sequence = EpochSize - 1
	burnt = must(org.VerifyManifest(sign(t, burnt, "ci"), now))(t)
	device := must(fresh.Accept(burnt))(t)
	device.Version = "9.9.9"
	if _, err := org.VerifyManifest(sign(t, must(burnt.Publish(release("10.0.0"), now))(t), "ci"), now); err == nil {
		t.Fatal("the burnt sequence has a successor in its epoch")
	}

	c := org.Next().at(now)
	c.Reset([]Pattern{"com.acme.shop"}, []Pattern{"beta-*"})
	next := must(org.Accept(signTrust(t, c, "root"), now))(t)
	_, err := next.VerifyManifest(burnt.Raw(), now)
	wantCode(t, err, CodeWrongEpoch)

	restarted := must(burnt.Restart(next, release("1.0.1"), now))(t)
	m := must(next.VerifyManifest(sign(t, restarted, "ci"), now))(t)
	if m.Sequence != EpochSize+1 {
		t.Errorf("the channel goes on from sequence %d, want %d", m.Sequence, uint64(EpochSize+1))
	}
	if err := Newer(burnt, m); err != nil {
		t.Errorf("a node that has the burnt manifest refuses: %v", err)
	}
	// A device that has run what the stolen key signed goes down without a word about that version.
	m.Withdrawn = ""
	m.Rollback = false
	m = must(next.VerifyManifest(sign(t, m, "ci"), now))(t)
	after := must(device.Accept(m))(t)
	if after.Version != "" || after.Sequence != m.Sequence {
		t.Errorf("the device is at %+v", after)
	}
	if d := Resolve(m, Device{Version: after.Version}, now); d.Kind != Update {
		t.Errorf("the device gets %+v", d)
	}
	// Other channels, and those who have not heard of the new document, are where they were.
	other := sign(t, shop(t, "nightly", "1.0.0"), "ci")
	for _, trust := range []*Trust{org, next} {
		if _, err := trust.VerifyManifest(other, now); err != nil {
			t.Errorf("version %d refuses a channel that was not reset: %v", trust.Version(), err)
		}
	}
	_, err = org.VerifyManifest(m.Raw(), now)
	wantCode(t, err, CodeWrongEpoch)
}

// TestEpoch_NeverFalls: whatever a successor says, no sequence that was valid in an ended epoch becomes valid again.
func TestEpoch_NeverFalls(t *testing.T) {
	apps := []Pattern{"*", "com.acme.*", "com.acme.shop"}
	channels := []Pattern{"*", "beta-*", "beta-1"}
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(from []Pattern, what string) []Pattern {
			return []Pattern{rapid.SampledFrom(from).Draw(rt, what)}
		}
		now := now
		org := trust(t, acme(), "root")
		for range rapid.IntRange(1, 6).Draw(rt, "documents") {
			now = now.Add(time.Hour)
			c := org.Next().at(now)
			if rapid.Bool().Draw(rt, "reset") {
				c.Reset(draw(apps, "apps"), draw(channels, "channels"))
			}
			if len(c.Epochs) > 0 && rapid.Bool().Draw(rt, "drop") {
				c.Epochs = c.Epochs[1:]
			}
			if len(c.Epochs) > 0 && rapid.Bool().Draw(rt, "lower") {
				c.Epochs[0].Epoch = max(1, c.Epochs[0].Epoch-1)
			}
			before := org.Epoch("com.acme.shop", "beta-1")
			if next, err := org.Accept(signTrust(t, c, "root"), now); err == nil {
				org = next
			}
			if after := org.Epoch("com.acme.shop", "beta-1"); after < before {
				rt.Fatalf("epoch fell from %d to %d", before, after)
			}
		}
	})
}

func TestEpoch_IsChecked(t *testing.T) {
	all := []Pattern{"*"}
	for name, e := range map[string]Epoch{
		"zero":       {Apps: all, Channels: all},
		"too high":   {Apps: all, Channels: all, Epoch: MaxEpoch + 1},
		"no app":     {Channels: all, Epoch: 1},
		"no channel": {Apps: all, Epoch: 1},
		"no pattern": {Apps: []Pattern{"a*b"}, Channels: all, Epoch: 1},
	} {
		c := acme()
		c.Epochs = []Epoch{e}
		if CodeOf(c.Validate()) != CodeMalformed {
			t.Errorf("%s: %v", name, c.Validate())
		}
	}
	if EpochOf(MaxSequence) != MaxEpoch {
		t.Errorf("the highest sequence is of epoch %d", EpochOf(MaxSequence))
	}
}
