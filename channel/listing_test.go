package channel

import (
	"strconv"
	"testing"
	"time"

	"brink/bench/cost"
)

// TestListing_ShowsWhatTheRolesOfItsSignersHold: one key of a role is told what the role holds, whatever the threshold
// and the action of the role, and nothing else.
func TestListing_ShowsWhatTheRolesOfItsSignersHold(t *testing.T) {
	org := renewing(t)
	channels := [][2]string{
		{"com.acme.shop", "production"},
		{"com.acme.shop", "beta-1"},
		{"com.acme.till", "nightly"},
		{"com.acme.till", "production"},
		{"com.bank", "production"},
	}
	for name, want := range map[string]struct{ shows, renews string }{
		"ci":   {"0 1 1 0 0", "0 1 1 0 0"},
		"ann":  {"1 1 0 0 0", "0 0 0 0 0"}, // the role asks for two keys
		"bank": {"0 0 0 0 1", "0 0 0 0 1"},
		"cron": {"1 1 1 1 1", "1 1 1 1 1"},
	} {
		l := must(org.VerifyListing(must(SignListing("acme", now, key(name)))(t), now))(t)
		if got := each(channels, l.Shows); got != want.shows {
			t.Errorf("%s is shown %s of %v, want %s", name, got, channels, want.shows)
		}
		if got := each(channels, l.MayRenew); got != want.renews {
			t.Errorf("%s may renew %s of %v, want %s", name, got, channels, want.renews)
		}
	}
	l := must(org.VerifyListing(must(SignListing("acme", now, key("ann"), key("bob"), key("ci")))(t), now))(t)
	if got := each(channels, l.Shows) + ", " + each(channels, l.MayRenew); got != "1 1 1 0 0, 1 1 1 0 0" {
		t.Errorf("three keys of two roles are shown, and may renew, %s", got)
	}
}

// each returns what a function says of each channel.
func each(channels [][2]string, says func(app, channel string) bool) (text string) {
	for i, c := range channels {
		if i > 0 {
			text += " "
		}
		if says(c[0], c[1]) {
			text += "1"
		} else {
			text += "0"
		}
	}
	return text
}

func TestListing_IsRefused(t *testing.T) {
	c := acme()
	c.Keys = append(c.Keys, public("later")...)
	c.Roles = append(c.Roles, Role{
		Name: "later", Keys: ids("later"), Apps: []Pattern{"*"}, Channels: []Pattern{"*"}, May: []Action{"paint"},
	})
	org := trust(t, c, "root")
	for name, code := range map[string]Code{
		"root": CodeWrongRole, "idle": CodeWrongRole, "later": CodeWrongRole, "stranger": CodeUnknownKey,
	} {
		_, err := org.VerifyListing(must(SignListing("acme", now, key(name)))(t), now)
		wantCode(t, err, code)
	}
	_, err := org.VerifyListing(must(SignListing("initech", now, key("ci")))(t), now)
	wantCode(t, err, CodeWrongOrg)

	raw := must(SignListing("acme", now, key("ci")))(t)
	for at, code := range map[time.Duration]Code{
		0: "", ListingLife - time.Second: "", ListingLife: CodeExpired, -MaxSkew: "", -MaxSkew - time.Second: CodeNotYetValid,
	} {
		_, err := org.VerifyListing(raw, now.Add(at))
		wantCode(t, err, code)
	}
	for member, value := range map[string]any{
		"org": "", "issued": nil, "expires": nil, "Expires": now, "schema": nil,
	} {
		_, err := org.VerifyListing(forge(t, TypeListing, edit(t, payload(t, raw), map[string]any{member: value}), "ci"), now)
		if want := map[bool]Code{true: CodeUnknownSchema, false: CodeMalformed}[member == "schema"]; CodeOf(err) != want {
			t.Errorf("a listing with %s %v: %v", member, value, err)
		}
	}
	for _, expires := range []time.Time{now, now.Add(ListingLife + time.Second)} {
		_, err := org.VerifyListing(forge(t, TypeListing, edit(t, payload(t, raw), map[string]any{"expires": expires}), "ci"), now)
		wantCode(t, err, CodeMalformed)
	}
	_, err = org.VerifyListing(forge(t, TypeListing, payload(t, raw)), now)
	wantCode(t, err, CodeMalformed)
	if _, err := SignListing("acme", now); err == nil {
		t.Error("a listing without a signature was made")
	}
	if _, err := SignListing("", now, key("ci")); CodeOf(err) != CodeMalformed {
		t.Errorf("a listing of no org was signed: %v", err)
	}
	expired := acme()
	expired.Expires = now.Add(time.Minute)
	_, err = trust(t, expired, "root").VerifyListing(raw, now.Add(time.Minute))
	wantCode(t, err, CodeTrustExpired)
}

// TestListing_Golden has what is signed, as docs/protocol.md shows it.
func TestListing_Golden(t *testing.T) {
	const want = `{"schema":1,"org":"acme","issued":"2026-11-23T12:00:00Z","expires":"2026-11-23T12:10:00Z"}`
	raw := must(SignListing("acme", now.Add(time.Millisecond), key("ci")))(t)
	if got := string(payload(t, raw)); got != want {
		t.Errorf("signed is %s, want %s", got, want)
	}
	if _, err := trust(t, acme(), "root").VerifyListing(forge(t, TypeListing, []byte(want), "ci"), now); err != nil {
		t.Error(err)
	}
}

// TestListing_FitsAllSignatures: MaxListing is no second bound for what MaxSignatures allows.
func TestListing_FitsAllSignatures(t *testing.T) {
	var keys []PrivateKey
	for i := range MaxSignatures {
		keys = append(keys, key(strconv.Itoa(i)))
	}
	org := string(make64(MaxOrg))
	if raw, err := SignListing(org, now, keys...); err != nil || len(raw) > 12<<10 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

func FuzzVerifyListing(f *testing.F) {
	org := renewing(f)
	f.Add(payload(f, must(SignListing("acme", now, key("cron")))(f)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw := forge(t, TypeListing, payload, "cron")
		var l *Listing
		var err error
		cost.Check(t, len(raw), func() { l, err = org.VerifyListing(raw, now) })
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a code: %v", err)
			}
			return
		}
		if l.Org != "acme" || now.After(l.Expires) || l.Expires.Sub(l.Issued) > ListingLife || !l.Shows("com.acme.shop", "beta-1") {
			t.Fatalf("accepted a listing of %s from %s to %s", l.Org, l.Issued, l.Expires)
		}
	})
}
