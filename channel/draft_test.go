package channel

import (
	"slices"
	"testing"

	"brink/bench/cost"
)

// twoRoots returns a trust document, and what makes its successor, which a second root has to sign as well.
func twoRoots(t testing.TB) (*Trust, TrustConfig) {
	t.Helper()
	raw := must(NewTrust(TrustConfig{Org: "acme", Issued: now, Roots: []PublicKey{key("root").Public()}}, key("root")))(t)
	trust := must(ParseTrust(raw, now))(t)
	next := trust.NextAt(now)
	next.AddRoots(key("second").Public())
	next.Threshold = 2
	return trust, next
}

func TestTrust_SignPartialIsCompletedByOthers(t *testing.T) {
	trust, next := twoRoots(t)
	if _, err := trust.SignNext(next, now, key("root")); CodeOf(err) != CodeNotEnoughSignatures {
		t.Fatalf("SignNext with one of two roots: %v", err)
	}
	raw, half, err := trust.SignPartial(next, now, key("root"))
	if err != nil || !half {
		t.Fatalf("SignPartial = %t, %v", half, err)
	}
	if _, err := trust.Accept(raw, now); CodeOf(err) != CodeNotEnoughSignatures {
		t.Errorf("a half-signed document is accepted: %v", err)
	}
	draft, err := ReadDraft(raw)
	if err != nil || draft.Trust == nil || draft.Trust.Version != 2 || draft.Trust.Threshold != 2 ||
		!slices.Equal(draft.SignedBy, []string{key("root").Public().ID()}) {
		t.Fatalf("ReadDraft = %+v, %v", draft, err)
	}
	whole := must(Cosign(raw, key("second")))(t)
	if got, err := trust.Accept(whole, now); err != nil || got.Version() != 2 {
		t.Errorf("after the second root has signed: %v", err)
	}
	if _, half, err := trust.SignPartial(next, now, key("root"), key("second")); err != nil || half {
		t.Errorf("with both roots it is half signed: %t, %v", half, err)
	}
	if _, _, err := trust.SignPartial(next, now, key("stranger")); CodeOf(err) != CodeUnknownKey {
		t.Errorf("a key that is no root: %v", err)
	}
}

func TestReadDraft_RefusesInvalidDocuments(t *testing.T) {
	trust, next := twoRoots(t)
	raw, _, err := trust.SignPartial(next, now, key("root"))
	if err != nil {
		t.Fatal(err)
	}
	m := shop(t, "production", "1.4.0")
	manifest := must(SignManifest(m, key("ci")))(t)
	if d, err := ReadDraft(manifest); err != nil || d.Manifest == nil || d.Manifest.Release.Version != "1.4.0" {
		t.Errorf("a manifest: %+v, %v", d, err)
	}
	intent := must(SignListing("acme", now, key("ci")))(t)
	for name, test := range map[string]struct {
		raw  []byte
		code Code
	}{
		"a listing": {intent, CodeWrongType},
		"nothing":   {nil, CodeMalformed},
		"cut":       {raw[:len(raw)-10], CodeMalformed},
	} {
		if _, err := ReadDraft(test.raw); CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
}

func FuzzReadDraft(f *testing.F) {
	trust, next := twoRoots(f)
	raw, _, err := trust.SignPartial(next, now, key("root"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(must(SignManifest(shop(f, "production", "1.4.0"), key("ci")))(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d *Draft
		var err error
		cost.Check(t, len(raw), func() { d, err = ReadDraft(raw) })
		if err == nil && (d.Trust == nil) == (d.Manifest == nil) {
			t.Errorf("it is %+v", d)
		}
		if err != nil && CodeOf(err) == "" {
			t.Errorf("refused without a code: %v", err)
		}
	})
}
