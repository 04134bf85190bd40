package channel

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"brink/bench/cost"
)

// renewing is acme with a role that may renew every channel, and do nothing else.
func renewing(t testing.TB) *Trust {
	c := acme()
	c.Keys = append(c.Keys, public("cron")...)
	c.Roles = append(c.Roles, Role{
		Name: "renewer", Keys: ids("cron"), Apps: []Pattern{"*"}, Channels: []Pattern{"*"}, May: []Action{ActionRenew},
	})
	return trust(t, c, "root")
}

// renew returns m renewed, signed by the key.
func renew(t testing.TB, m *Manifest, at, expires time.Time, name string) []byte {
	t.Helper()
	return must(SignRenewal(m, at, expires, key(name)))(t)
}

// TestRenewal_ChangesNothingButTheTimes: a manifest that has expired is good again, and is the same otherwise.
func TestRenewal_ChangesNothingButTheTimes(t *testing.T) {
	org := renewing(t)
	m := shop(t, "beta-1", "1.0.0", "1.1.0")
	m.Expires = now.Add(time.Hour)
	m = must(org.VerifyManifest(sign(t, m, "ci"), now))(t)
	later := now.Add(24 * time.Hour)
	if _, err := org.VerifyManifest(m.Raw(), later); CodeOf(err) != CodeExpired {
		t.Fatalf("the manifest is good still: %v", err)
	}
	one := must(org.VerifyManifest(renew(t, m, later, later.Add(time.Hour), "cron"), later))(t)
	if one.Sequence != m.Sequence || one.Renewal() != 1 || versions(one) != versions(m) ||
		!one.Expires.Equal(later.Add(time.Hour)) || one.Published() != m.Statement() || one.Statement() == m.Statement() {
		t.Errorf("renewed it is sequence %d, renewal %d, %s", one.Sequence, one.Renewal(), versions(one))
	}
	if err := Newer(m, one); err != nil {
		t.Errorf("a node refuses the renewal: %v", err)
	}
	two := must(org.VerifyManifest(renew(t, one, later, later.Add(2*time.Hour), "cron"), later))(t)
	if two.Renewal() != 2 || two.Published() != m.Statement() || len(two.Raw()) > len(one.Raw())+16 {
		t.Errorf("renewed twice it has renewal %d and %d bytes after %d", two.Renewal(), len(two.Raw()), len(one.Raw()))
	}
	wantCode(t, Newer(two, one), CodeSequenceNotHigher)

	state := must(State{App: m.App, Channel: m.Channel}.Accept(m))(t)
	state = must(state.Accept(two))(t)
	_, err := state.Accept(one)
	wantCode(t, err, CodeSequenceNotHigher)
	_, err = state.Accept(m)
	wantCode(t, err, CodeSequenceNotHigher)

	// What is published next is newer than all renewals, and names what was published before.
	next := must(org.VerifyManifest(sign(t, must(two.Publish(release("1.2.0"), later))(t), "ci"), later))(t)
	if next.Sequence != 3 || next.Renewal() != 0 || next.Previous != m.Statement() {
		t.Errorf("the next is sequence %d, renewal %d, after %s", next.Sequence, next.Renewal(), next.Previous.Short())
	}
	if err := Newer(two, next); err != nil {
		t.Error(err)
	}
	must(state.Accept(next))(t)
}

// TestRenewal_KeyMayDoNothingElse: a renewal counts only over what a publisher signed, and brings back nothing.
func TestRenewal_KeyMayDoNothingElse(t *testing.T) {
	org := renewing(t)
	old := signed(t, shop(t, "production", "1.0.0"))
	now3 := signed(t, shop(t, "production", "1.0.0", "1.1.0", "1.2.0"))

	_, err := org.VerifyManifest(sign(t, now3, "cron"), now)
	wantCode(t, err, CodeWrongRole)
	in := intent()
	_, err = org.VerifyIntent(must(SignIntent(in, key("cron")))(t), now)
	wantCode(t, err, CodeWrongRole)

	// An old manifest that is renewed any number of times is older than the one in force, on nodes and devices.
	again := must(org.VerifyManifest(renew(t, old, now, now.Add(time.Hour), "cron"), now))(t)
	again.renewed.number = MaxRenewal
	wantCode(t, Newer(now3, again), CodeSequenceNotHigher)
	state := must(State{App: old.App, Channel: old.Channel}.Accept(now3))(t)
	_, err = state.Accept(again)
	wantCode(t, err, CodeSequenceNotHigher)
	_, err = SignRenewal(again, now, now.Add(time.Hour), key("cron"))
	wantCode(t, err, CodeMalformed)

	// A manifest that no publisher signed is none when it is renewed.
	forged := must(ParseManifest(sign(t, shop(t, "production", "6.6.6"), "cron")))(t)
	_, err = org.VerifyManifest(renew(t, forged, now, now.Add(time.Hour), "cron"), now)
	wantCode(t, err, CodeWrongRole)
	// Nor is one of another channel under the name of this.
	raw := renew(t, now3, now, now.Add(time.Hour), "cron")
	for member, value := range map[string]any{
		"channel": "nightly", "sequence": 9, "renewal": 0, "expires": nil, "app": "com.acme.other", "manifest": nil,
		"issued": now.Add(-time.Hour),
	} {
		_, err := org.VerifyManifest(forge(t, TypeRenewal, edit(t, payload(t, raw), map[string]any{member: value}), "cron"), now)
		if CodeOf(err) != CodeMalformed {
			t.Errorf("a renewal with %s %v: %v", member, value, err)
		}
	}
	_, err = trust(t, acme(), "root").VerifyManifest(raw, now)
	wantCode(t, err, CodeUnknownKey)
}

// TestRenewal_IsWithinBoundsForEveryManifest: the largest manifest that can be signed can be renewed.
func TestRenewal_IsWithinBoundsForEveryManifest(t *testing.T) {
	m := shop(t, "production", "1.0.0")
	low, high := 0, MaxManifest
	for low < high {
		size := (low + high + 1) / 2
		m.unknown = unknown{"more": json.RawMessage(`"` + string(make64(size)) + `"`)}
		if _, err := SignManifest(m, key("ann"), key("bob")); err == nil {
			low = size
		} else {
			high = size - 1
		}
	}
	m.unknown = unknown{"more": json.RawMessage(`"` + string(make64(low)) + `"`)}
	raw := renew(t, signed(t, m), now, now.Add(time.Hour), "ann")
	if len(raw) > MaxManifest {
		t.Errorf("a manifest with %d bytes of padding has a renewal of %d bytes", low, len(raw))
	}
}

func make64(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// TestManifest_OrderIsThatOfSequenceAndRenewal: packing the two into one number keeps their order.
func TestManifest_OrderIsThatOfSequenceAndRenewal(t *testing.T) {
	draw := func(t *rapid.T, what string) (sequence, renewal uint64) {
		return rapid.Uint64Range(0, MaxSequence).Draw(t, what), rapid.Uint64Range(0, MaxRenewal).Draw(t, what+" renewal")
	}
	rapid.Check(t, func(t *rapid.T) {
		s1, r1 := draw(t, "one")
		s2, r2 := draw(t, "two")
		want := s1 < s2 || s1 == s2 && r1 < r2
		if got := OrderOf(s1, r1) < OrderOf(s2, r2); got != want {
			t.Fatalf("%d.%d before %d.%d: %v", s1, r1, s2, r2, got)
		}
	})
}

func FuzzVerifyRenewal(f *testing.F) {
	org := renewing(f)
	m := signed(f, shop(f, "production", "1.0.0"))
	f.Add(payload(f, renew(f, m, now, now.Add(time.Hour), "cron")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw := forge(t, TypeRenewal, payload, "cron")
		var got *Manifest
		var err error
		cost.Check(t, len(raw), func() { got, err = org.VerifyManifest(raw, now) })
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a code: %v", err)
			}
			return
		}
		if got.Published() != m.Statement() || got.Release.Bundle != m.Release.Bundle || got.Renewal() == 0 {
			t.Fatalf("accepted %s of sequence %d", versions(got), got.Sequence)
		}
	})
}
