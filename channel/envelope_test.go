package channel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"pgregory.net/rapid"

	"brink/bench/cost"
)

// rewrite changes an envelope and writes it in its one byte form, as good as an attacker could.
func rewrite(t testing.TB, raw []byte, change func(*dsse.Envelope)) []byte {
	t.Helper()
	var e dsse.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	change(&e)
	return must(json.Marshal(e))(t)
}

func flipBit(b []byte, bit int) { b[bit/8%len(b)] ^= 1 << (bit % 8) }

func flipPayload(t testing.TB, raw []byte, bit int) []byte {
	return rewrite(t, raw, func(e *dsse.Envelope) {
		b := must(e.DecodeB64Payload())(t)
		flipBit(b, bit)
		e.Payload = base64.StdEncoding.EncodeToString(b)
	})
}

func flipSignature(t testing.TB, raw []byte, i, bit int) []byte {
	return rewrite(t, raw, func(e *dsse.Envelope) {
		b := must(base64.StdEncoding.DecodeString(e.Signatures[i].Sig))(t)
		flipBit(b, bit)
		e.Signatures[i].Sig = base64.StdEncoding.EncodeToString(b)
	})
}

func TestEnvelope_AnyFlippedBitIsRefused(t *testing.T) {
	org := trust(t, acme(), "root")
	raw := sign(t, shop(t, "production", "1.4.0", "1.5.0"), "ann", "bob")
	rapid.Check(t, func(rt *rapid.T) {
		bit := rapid.IntRange(0, len(raw)*8-1).Draw(rt, "bit")
		_, err := org.VerifyManifest(flipPayload(t, raw, bit), now)
		wantCode(t, err, CodeBadSignature)
		// The other signature still matches; a document that was tampered with is refused all the same.
		_, err = org.VerifyManifest(flipSignature(t, raw, bit%2, bit), now)
		wantCode(t, err, CodeBadSignature)

		bytes := bytes.Clone(raw)
		flipBit(bytes, bit)
		if _, err := org.VerifyManifest(bytes, now); CodeOf(err) == "" {
			rt.Fatalf("bit %d of the envelope can be flipped: %v", bit, err)
		}
	})
}

func TestEnvelope_HasOneByteForm(t *testing.T) {
	org := trust(t, acme(), "root")
	raw := sign(t, shop(t, "production", "1.4.0"), "ann", "bob")
	replace := func(old, next string) []byte {
		changed := bytes.Replace(raw, []byte(old), []byte(next), 1)
		if bytes.Equal(changed, raw) {
			t.Fatalf("%q is not in the envelope", old)
		}
		return changed
	}
	// The last digit of a signature's base64 carries four bits that mean nothing.
	end := bytes.LastIndex(raw, []byte(`=="`))
	spare := bytes.Clone(raw)
	spare[end-1]++

	rows := map[string][]byte{
		"white space":             replace(`,"payload"`, `, "payload"`),
		"line end":                append(bytes.Clone(raw), '\n'),
		"another document behind": append(bytes.Clone(raw), raw...),
		"field more":              replace(`,"payload"`, `,"more":1,"payload"`),
		"field twice":             replace(`{"payloadType"`, `{"payload":"e30=","payloadType"`),
		"field of another case":   replace(`"payload"`, `"Payload"`),
		"escape":                  replace(`vnd.brink`, `vnd\u002ebrink`),
		"spare bits":              spare,
		"line end in base64":      rewrite(t, raw, func(e *dsse.Envelope) { e.Payload = "\n" + e.Payload }),
		"URL base64": rewrite(t, raw, func(e *dsse.Envelope) {
			e.Signatures[0].Sig = strings.NewReplacer("+", "-", "/", "_").Replace(e.Signatures[0].Sig)
		}),
		"other order":     rewrite(t, raw, func(e *dsse.Envelope) { slices.Reverse(e.Signatures) }),
		"signature twice": rewrite(t, raw, func(e *dsse.Envelope) { e.Signatures[1] = e.Signatures[0] }),
		"no key ID":       rewrite(t, raw, func(e *dsse.Envelope) { e.Signatures[0].KeyID = "" }),
		"short signature": rewrite(t, raw, func(e *dsse.Envelope) { e.Signatures[0].Sig = "AAAA" }),
		"null signatures": rewrite(t, raw, func(e *dsse.Envelope) { e.Signatures = nil }),
		"many signatures": rewrite(t, raw, func(e *dsse.Envelope) {
			e.Signatures = slices.Repeat(e.Signatures, MaxSignatures)
		}),
		"nothing":      nil,
		"no JSON":      []byte("brink"),
		"another JSON": []byte("[]"),
	}
	for name, bad := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := org.VerifyManifest(bad, now)
			wantCode(t, err, CodeMalformed)
			_, err = ParseManifest(bad)
			wantCode(t, err, CodeMalformed)
		})
	}
}

func TestEnvelope_KindsAreNotMixedUp(t *testing.T) {
	org := trust(t, acme(), "root")
	byType := map[string][]byte{
		TypeTrust:    org.Raw(),
		TypeManifest: sign(t, shop(t, "nightly", "1.0.0"), "ci"),
		TypeIntent:   must(SignIntent(intent(), key("ci")))(t),
		TypeListing:  must(SignListing("acme", now, key("ci")))(t),
	}
	for made := range byType {
		for wanted := range byType {
			_, err := open(byType[made], wanted)
			if made == wanted && err != nil {
				t.Errorf("%s: %v", made, err)
			}
			if made != wanted {
				wantCode(t, err, CodeWrongType)
			}
			// Relabelled, the envelope is of the right kind, and the signature of none.
			if made != wanted && wanted != TypeTrust {
				label := rewrite(t, byType[made], func(e *dsse.Envelope) { e.PayloadType = wanted })
				_, _, err := org.open(label, func(raw []byte) (*envelope, error) { return open(raw, wanted) }, now)
				wantCode(t, err, CodeBadSignature)
			}
		}
	}
}

func TestEnvelope_TooLargeIsNotParsed(t *testing.T) {
	for payloadType, bound := range map[string]int{TypeTrust: 1 << 20, TypeManifest: 176 << 10, TypeRenewal: 256 << 10, TypeIntent: 64 << 10, TypeListing: 16 << 10} {
		big := forge(t, payloadType, bytes.Repeat([]byte(" "), bound*3/4))
		_, err := open(big, payloadType)
		wantCode(t, err, CodeTooLarge)
		_, err = open(big, "")
		wantCode(t, err, CodeTooLarge)
		_, err = open(big[:bound], payloadType)
		wantCode(t, err, CodeMalformed)
	}
	m := shop(t, "beta-1", "1.0.0")
	m.unknown = unknown{"more": json.RawMessage(`"` + strings.Repeat("x", MaxManifest) + `"`)}
	_, err := SignManifest(m, key("ci"))
	wantCode(t, err, CodeTooLarge)
}

func TestEnvelope_PayloadIsStrictJSON(t *testing.T) {
	org := trust(t, acme(), "root")
	good := string(payload(t, sign(t, shop(t, "beta-1", "1.0.0"), "ci")))
	if _, err := org.VerifyManifest(forge(t, TypeManifest, []byte(good), "ci"), now); err != nil {
		t.Fatalf("the payload that the rows spoil is refused itself: %v", err)
	}
	deep := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	rows := map[string]string{
		"member twice":            strings.Replace(good, `{`, `{"channel":"production",`, 1),
		"member twice, deep":      strings.Replace(good, `"version":`, `"version":"9.0.0","version":`, 1),
		"member twice, unknown":   strings.Replace(good, `{`, `{"x":[{"a":1,"a":2}],`, 1),
		"member twice, escaped":   strings.Replace(good, `{`, `{"\u0063hannel":"production",`, 1),
		"another case":            strings.Replace(good, `{`, `{"Sequence":7,`, 1),
		"another case, deep":      strings.Replace(good, `"version":`, `"Version":"9.0.0","version":`, 1),
		"only another case":       strings.Replace(good, `"sequence"`, `"SEQUENCE"`, 1),
		"something behind":        good + `{}`,
		"not UTF-8":               strings.Replace(good, `{`, "{\"x\":\"\xff\",", 1),
		"wrong type":              strings.Replace(good, `"sequence":1`, `"sequence":"1"`, 1),
		"sequence out of bounds":  strings.Replace(good, `"sequence":1`, `"sequence":9007199254740992`, 1),
		"negative sequence":       strings.Replace(good, `"sequence":1`, `"sequence":-1`, 1),
		"null for the release":    string(edit(t, []byte(good), map[string]any{"release": json.RawMessage("null")})),
		"no release":              string(edit(t, []byte(good), map[string]any{"release": nil})),
		"digest in capitals":      strings.ToUpper(good),
		"deeper than JSON may be": strings.Replace(good, `{`, `{"x":`+deep+`,`, 1),
		"array":                   `[]`,
		"half":                    good[:len(good)/2],
	}
	for name, bad := range rows {
		t.Run(name, func(t *testing.T) {
			if bad == good {
				t.Fatal("the row spoils nothing")
			}
			_, err := org.VerifyManifest(forge(t, TypeManifest, []byte(bad), "ci"), now)
			want := CodeMalformed
			if name == "digest in capitals" {
				want = CodeUnknownSchema // there is no "schema" in it
			}
			wantCode(t, err, want)
		})
	}
	for _, schema := range []any{0, 2, "1", json.Number("1.0"), nil} {
		bad := edit(t, []byte(good), map[string]any{"schema": schema})
		_, err := org.VerifyManifest(forge(t, TypeManifest, bad, "ci"), now)
		wantCode(t, err, CodeUnknownSchema)
	}
}

func TestCosign_OrderMakesNoDifference(t *testing.T) {
	org := trust(t, acme(), "root")
	m := shop(t, "production", "1.4.0")
	both := sign(t, m, "ann", "bob")
	for _, pair := range [][2]string{{"ann", "bob"}, {"bob", "ann"}} {
		one := sign(t, m, pair[0])
		_, err := org.VerifyManifest(one, now)
		wantCode(t, err, CodeNotEnoughSignatures)
		// Signing twice is not signing by two.
		twice := must(Cosign(one, key(pair[0])))(t)
		if !bytes.Equal(twice, one) || !bytes.Equal(sign(t, m, pair[0], pair[0]), one) {
			t.Error("a key that signs twice makes another document")
		}
		two := must(Cosign(one, key(pair[1])))(t)
		if !bytes.Equal(two, both) {
			t.Errorf("%v signed another document than both at once", pair)
		}
		if _, err := org.VerifyManifest(two, now); err != nil {
			t.Error(err)
		}
	}
	_, err := Cosign([]byte("{}"), key("ann"))
	wantCode(t, err, CodeWrongType)
}

func TestEnvelope_SignaturesAreBounded(t *testing.T) {
	var keys []PrivateKey
	for i := range MaxSignatures + 1 {
		keys = append(keys, key(strconv.Itoa(i)))
	}
	m := shop(t, "production", "1.4.0")
	if _, err := SignManifest(m, keys[1:]...); err != nil {
		t.Error(err)
	}
	_, err := SignManifest(m, keys...)
	wantCode(t, err, CodeMalformed)
}

func TestManifest_StatementDoesNotCoverSignatures(t *testing.T) {
	m := shop(t, "production", "1.4.0")
	one, two := must(ParseManifest(sign(t, m, "ann")))(t), signed(t, m)
	if one.Statement() != two.Statement() || one.Statement().IsZero() {
		t.Error("one statement has two digests")
	}
	if one.Digest() == two.Digest() {
		t.Error("two documents have one digest")
	}
	// Equal statements are no equivocation: a stranger can leave a signature out.
	wantCode(t, Newer(one, two), CodeSequenceNotHigher)
}

func FuzzVerifyManifest(f *testing.F) {
	org := trust(f, acme(), "root")
	good := sign(f, shop(f, "production", "1.4.0"), "ann", "bob")
	f.Add(good)
	f.Add(sign(f, shop(f, "beta-1", "1.4.0"), "ci"))
	f.Add(org.Raw())
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m *Manifest
		var err error
		cost.Check(t, len(raw), func() { m, err = org.VerifyManifest(raw, now) })
		if err != nil {
			if CodeOf(err) == "" {
				t.Errorf("refused without a code: %v", err)
			}
			return
		}
		// Nobody but the holders of the keys can make a manifest that is accepted: it must be one of ours.
		if again, err := SignManifest(m, key("ci")); err == nil && bytes.Equal(again, raw) {
			return
		}
		if again := sign(t, m, "ann", "bob"); !bytes.Equal(again, raw) {
			t.Errorf("accepted bytes that no key holder made")
		}
	})
}
