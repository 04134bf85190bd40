package channel

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTrust_VerifyManifestSaysWhyNot(t *testing.T) {
	org := trust(t, acme(), "root")
	for _, row := range []struct {
		app, channel string
		signers      []string
		want         Code
	}{
		{"com.acme.shop", "beta-1", []string{"ci"}, ""},
		{"com.acme.other", "nightly", []string{"ci"}, ""},
		{"com.acme.shop", "production", []string{"ann", "bob"}, ""},
		{"com.acme.shop", "production", []string{"ann", "bob", "ci"}, ""},
		{"com.acme.shop", "beta-1", []string{"ci", "ann"}, ""},

		{"com.acme.shop", "production", nil, ""}, // replaced below: no signature
		{"com.acme.shop", "production", []string{"ann"}, CodeNotEnoughSignatures},
		{"com.acme.shop", "production", []string{"ann", "ann"}, CodeNotEnoughSignatures},
		{"com.acme.shop", "production", []string{"ann", "ci"}, CodeNotEnoughSignatures}, // not two of one role
		{"com.acme.shop", "production", []string{"ci"}, CodeWrongChannel},
		{"com.acme.shop", "beta", []string{"ci"}, CodeWrongChannel},
		{"com.acme.other", "production", []string{"ann", "bob"}, CodeWrongApp},
		{"com.acme.shop", "production", []string{"bank"}, CodeWrongApp},
		{"com.acme", "nightly", []string{"ci"}, CodeWrongApp},
		{"com.acme.shop", "production", []string{"root"}, CodeWrongRole},
		{"com.acme.shop", "production", []string{"idle", "root"}, CodeWrongRole},
		{"com.acme.shop", "production", []string{"mallory"}, CodeUnknownKey},
		{"com.acme.shop", "production", []string{"ann", "bob", "mallory"}, CodeUnknownKey},
	} {
		m := shop(t, row.channel, "1.0.0")
		m.App = row.app
		var raw []byte
		if row.signers == nil {
			raw = bytes.Replace(forge(t, TypeManifest, payload(t, sign(t, m, "ci"))), []byte("null"), []byte("[]"), 1)
			row.want = CodeNotEnoughSignatures
		} else {
			raw = sign(t, m, row.signers...)
		}
		got, err := org.VerifyManifest(raw, now)
		if CodeOf(err) != row.want || (got != nil) != (row.want == "") {
			t.Errorf("%s %s by %v: %v, want %q", row.app, row.channel, row.signers, err, row.want)
		}
		if got != nil && !bytes.Equal(got.Raw(), raw) {
			t.Error("the signed bytes were not kept")
		}
	}
}

func TestTrust_VerifyManifestTimes(t *testing.T) {
	org := trust(t, acme(), "root")
	m := shop(t, "beta-1", "1.0.0")
	m.Expires = now.Add(time.Hour)
	raw := sign(t, m, "ci")
	for _, row := range []struct {
		at   time.Time
		want Code
	}{
		{now.Add(-MaxSkew - time.Second), CodeNotYetValid},
		{now.Add(-MaxSkew), ""},
		{now.Add(time.Hour - time.Second), ""},
		{now.Add(time.Hour), CodeExpired},
	} {
		_, err := org.VerifyManifest(raw, row.at)
		wantCode(t, err, row.want)
	}
}

func TestTrust_RevokedKeyPublishesNothing(t *testing.T) {
	org := trust(t, acme(), "root")
	raw := sign(t, shop(t, "beta-1", "1.0.0"), "ci")
	c := org.Next().at(now)
	c.Roles = c.Roles[1:]
	without := must(org.Accept(signTrust(t, c, "root"), now))(t)
	_, err := without.VerifyManifest(raw, now)
	wantCode(t, err, CodeWrongRole)

	c.Version, c.Keys = 3, public("ann", "bob", "bank")
	gone := must(without.Accept(signTrust(t, c, "root"), now))(t)
	_, err = gone.VerifyManifest(raw, now)
	wantCode(t, err, CodeUnknownKey)
}

func TestTrust_VerifyIntent(t *testing.T) {
	org := trust(t, acme(), "root")
	for _, row := range []struct {
		app     string
		signers []string
		want    Code
	}{
		{"com.acme.shop", []string{"ci"}, ""}, // whichever the channels of the role
		{"com.acme.shop", []string{"ann", "bob"}, ""},
		{"com.acme.shop", []string{"ann"}, CodeNotEnoughSignatures},
		{"com.acme.other", []string{"ann", "bob"}, CodeWrongApp},
		{"com.acme.shop", []string{"bank"}, CodeWrongApp},
		{"com.acme.shop", []string{"root"}, CodeWrongRole},
		{"com.acme.shop", []string{"mallory"}, CodeUnknownKey},
	} {
		in := intent()
		in.App = row.app
		var keys []PrivateKey
		for _, name := range row.signers {
			keys = append(keys, key(name))
		}
		raw := must(SignIntent(in, keys...))(t)
		got, err := org.VerifyIntent(raw, now)
		if CodeOf(err) != row.want {
			t.Errorf("%s by %v: %v, want %q", row.app, row.signers, err, row.want)
		}
		if row.want != "" {
			continue
		}
		in.Schema = IntentSchema
		if diff := cmp.Diff(in, got, cmpopts.IgnoreUnexported(Intent{})); diff != "" {
			t.Errorf("intent came back otherwise:\n%s", diff)
		}
		if !bytes.Equal(got.Raw(), raw) {
			t.Error("the signed bytes were not kept")
		}
	}
	raw := must(SignIntent(intent(), key("ci")))(t)
	_, err := org.VerifyIntent(raw, now.Add(time.Hour))
	wantCode(t, err, CodeExpired)
	_, err = org.VerifyIntent(raw, now.Add(-MaxSkew-time.Second))
	wantCode(t, err, CodeNotYetValid)
	_, err = org.VerifyIntent(flipPayload(t, raw, 77), now)
	wantCode(t, err, CodeBadSignature)
	_, err = org.VerifyIntent(sign(t, shop(t, "beta-1", "1.0.0"), "ci"), now)
	wantCode(t, err, CodeWrongType)
}

func TestSignIntent_RefusesWhatVerifyWould(t *testing.T) {
	for name, spoil := range map[string]func(*Intent){
		"no org":          func(in *Intent) { in.Org = "" },
		"bad app":         func(in *Intent) { in.App = ".." },
		"bad version":     func(in *Intent) { in.Version = "v1.0.0" },
		"no bundle":       func(in *Intent) { in.Bundle = [32]byte{} },
		"no index":        func(in *Intent) { in.Index = [32]byte{} },
		"no size":         func(in *Intent) { in.Size = 0 },
		"negative size":   func(in *Intent) { in.Size = -1 },
		"no index size":   func(in *Intent) { in.IndexSize = 0 },
		"no files":        func(in *Intent) { in.Files = 0 },
		"not issued":      func(in *Intent) { in.Issued = time.Time{} },
		"never expires":   func(in *Intent) { in.Expires = time.Time{} },
		"expires at once": func(in *Intent) { in.Expires = in.Issued },
	} {
		in := intent()
		spoil(in)
		_, err := SignIntent(in, key("ci"))
		if CodeOf(err) != CodeMalformed {
			t.Errorf("%s: %v, want it malformed", name, err)
		}
	}
	org := trust(t, acme(), "root")
	good := payload(t, must(SignIntent(intent(), key("ci")))(t))
	for _, members := range []map[string]any{{"size": -1}, {"expires": nil}, {"Size": 1}, {"bundle": "x"}} {
		_, err := org.VerifyIntent(forge(t, TypeIntent, edit(t, good, members), "ci"), now)
		wantCode(t, err, CodeMalformed)
	}
	_, err := org.VerifyIntent(forge(t, TypeIntent, edit(t, good, map[string]any{"schema": 9}), "ci"), now)
	wantCode(t, err, CodeUnknownSchema)
}
