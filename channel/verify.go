package channel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// VerifyManifest decodes a signed manifest and checks that enough keys of one role that includes its app and channel
// signed it, that it is of this org, and that now is within its times. Every refusal is a [*RefusedError].
//
// It does not know which channel the caller requested, or which manifest is in force. See [Manifest.CheckFor] for the
// former, and [Newer] on a node and [State.Accept] on a device for the latter.
func (t *Trust) VerifyManifest(raw []byte, now time.Time) (*Manifest, error) {
	m, err := t.verifyManifest(raw, now)
	if err != nil {
		return nil, err
	}
	if err := checkTimes("manifest", m.Issued, m.Expires, now); err != nil {
		return nil, err
	}
	return m, nil
}

// verifyManifest is VerifyManifest without the check of the manifest's times.
func (t *Trust) verifyManifest(raw []byte, now time.Time) (*Manifest, error) {
	e, signers, err := t.open(raw, openManifest, now)
	if err != nil {
		return nil, err
	}
	if e.PayloadType == TypeRenewal {
		return t.verifyRenewal(e, signers, now)
	}
	m, err := decodeManifest(e)
	if err != nil {
		return nil, err
	}
	if err := t.authorise(signers, m.Org, m.App, m.Channel, ActionPublish); err != nil {
		return nil, err
	}
	return m, t.checkEpoch(m)
}

// VerifyIntent decodes a signed bundle intent and verifies it as [Trust.VerifyManifest] does a manifest. A role that
// may publish the app to any channel may sign an intent for the app.
func (t *Trust) VerifyIntent(raw []byte, now time.Time) (*Intent, error) {
	e, signers, err := t.open(raw, func(raw []byte) (*envelope, error) { return open(raw, TypeIntent) }, now)
	if err != nil {
		return nil, err
	}
	in, err := decodeIntent(e)
	if err != nil {
		return nil, err
	}
	if err := t.authorise(signers, in.Org, in.App, anyChannel, ActionPublish); err != nil {
		return nil, err
	}
	if err := checkTimes("bundle intent", in.Issued, in.Expires, now); err != nil {
		return nil, err
	}
	return in, nil
}

// open decodes an envelope and verifies its signatures, and returns the IDs of the signers. The caller then decodes the
// payload, so that no payload is parsed that no known key signed.
func (t *Trust) open(
	raw []byte, read func([]byte) (*envelope, error), now time.Time,
) (*envelope, []string, error) {
	if err := t.CheckExpiry(now); err != nil {
		return nil, nil, err
	}
	e, err := read(raw)
	if err != nil {
		return nil, nil, err
	}
	signers, err := e.signers(func(id string) (PublicKey, bool) {
		key, ok := t.doc.Keys[id]
		return key, ok
	}, true)
	return e, signers, err
}

// CheckExpiry returns nil if the trust document has not expired, and otherwise a [*RefusedError] with
// [CodeTrustExpired]: it allows nothing any more except its successor.
func (t *Trust) CheckExpiry(now time.Time) error {
	if !expired(t.doc.Expires, now) {
		return nil
	}
	return refuse(CodeTrustExpired, "sign a new version of the trust document with the root keys",
		"version %d of the trust document of org %s expired at %s",
		t.Version(), t.Org(), t.doc.Expires.Format(time.RFC3339))
}

// anyChannel stands for any channel: it is not a valid name.
const anyChannel = ""

// authorise checks that enough signers are in one role that allows the action and includes the app and channel. If no
// role does, the error is about the role that came closest.
func (t *Trust) authorise(signers []string, org, app, channel string, action Action) error {
	if err := t.checkOrg(signers, org); err != nil {
		return err
	}
	var inRole, hasApp bool
	var nearest *Role
	var have int
	for i := range t.doc.Roles {
		role := &t.doc.Roles[i]
		n := count(role.Keys, signers)
		if n == 0 || !role.may(action) {
			continue
		}
		inRole = true
		if !matches(role.Apps, app) {
			continue
		}
		hasApp = true
		if channel != anyChannel && !matches(role.Channels, channel) {
			continue
		}
		if n >= role.Threshold {
			return nil
		}
		if nearest == nil || role.Threshold-n < nearest.Threshold-have {
			nearest, have = role, n
		}
	}
	switch {
	case nearest != nil:
		return refuse(CodeNotEnoughSignatures, "have the other keys of the role sign too",
			"role %s requires %d signatures, but only %d of its keys have signed", nearest.Name, nearest.Threshold, have)
	case hasApp:
		return refuse(CodeWrongChannel, "sign with a key of a role that includes the channel",
			"the signing keys may publish app %s, but not to channel %s", app, channel)
	case inRole:
		return refuse(CodeWrongApp, "sign with a key of a role that includes the app",
			"the signing keys may not publish app %s", app)
	default:
		return refuse(CodeWrongRole, "sign with a key of a role, and not with a root key",
			"the signing keys are in no role of org %s that may %s", t.Org(), action)
	}
}

// checkOrg checks that a statement is of this org and that it is signed.
func (t *Trust) checkOrg(signers []string, org string) error {
	if org != t.Org() {
		return refuse(CodeWrongOrg, "", "statement is of org %q, want %q", org, t.Org())
	}
	if len(signers) == 0 {
		return refuse(CodeNotEnoughSignatures, "", "statement has no signature")
	}
	return nil
}

// maxElements bounds the commas and opening brackets of a payload: a trust document of a thousand roles has fewer.
const maxElements = 30_000

// decodePayload decodes the signed JSON into a struct after checking its schema.
//
//nolint:unparam // all schemas are 1 so far
func decodePayload(payload []byte, schema int, into any) error {
	// An untrusted document is decoded too, if its own roots have signed it, so the cost must be bounded by its size.
	if n := bytes.Count(payload, []byte(",")) + bytes.Count(payload, []byte("{")) + bytes.Count(payload, []byte("[")); n >
		maxElements {
		return malformed("payload has more than %d members and elements", maxElements)
	}
	if err := checkJSON(payload); err != nil {
		return malformed("payload: %v", err)
	}
	// Names must match exactly here too, so the schema is not decoded into a struct.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(payload, &members); err != nil {
		return malformed("payload: %v", err)
	}
	if got := string(members["schema"]); got != fmt.Sprint(schema) {
		return refuse(CodeUnknownSchema, "use a newer version of Brink", "document has schema %q, want %d", got, schema)
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return malformed("payload: %v", err)
	}
	return nil
}

// checkSpan checks that a document has a time of issue, and does not expire before it.
func checkSpan(issued, expires time.Time) error {
	if issued.IsZero() {
		return malformed("issued is missing")
	}
	if !expires.IsZero() && !expires.After(issued) {
		return malformed("expires %s is not after issued %s", expires.Format(time.RFC3339), issued.Format(time.RFC3339))
	}
	return nil
}

func checkTimes(what string, issued, expires, now time.Time) error {
	if issued.After(now.Add(MaxSkew)) {
		return refuse(CodeNotYetValid, "compare the clocks of the two machines",
			"%s was issued at %s, but it is %s now", what, issued.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if expired(expires, now) {
		return refuse(CodeExpired, "sign it again with a later time",
			"%s expired at %s", what, expires.Format(time.RFC3339))
	}
	return nil
}

// warnBefore is how long before its expiry a statement should be renewed, unless a quarter of its lifetime is shorter.
const warnBefore = 21 * 24 * time.Hour

// EndsSoon reports whether a statement that was issued and expires at these times has expired, or is so close to expiry
// that it should be renewed. A zero expires means never.
func EndsSoon(issued, expires, now time.Time) bool {
	if expires.IsZero() {
		return false
	}
	return !now.Before(expires.Add(-min(warnBefore, expires.Sub(issued)/4)))
}

// expired reports whether now is at or after expires; zero is never.
func expired(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }
