package channel

import (
	"encoding/json"
	"fmt"
	"time"

	"brink/digest"
)

// RenewalSchema is the schema number of renewals that this version reads and writes.
const RenewalSchema = 1

// MaxRenewal is how often a manifest can be renewed until there must be a new manifest: at one renewal a day, for more
// than five years.
const MaxRenewal = 1<<renewalBits - 1

// renewalBits is how many bits of [Manifest.Order] count renewals: what [MaxSequence] leaves of 64.
const renewalBits = 11

// renewal is the payload of a renewed manifest: JSON, schema 1. It contains the manifest as published, with a new
// lifetime. Everything else comes from the manifest, so a key that may only renew can change nothing else. The sequence
// is the same, so the next manifest is newer than every renewal of this one.
type renewal struct {
	Schema   int             `json:"schema"`
	Org      string          `json:"org"`
	App      string          `json:"app"`
	Channel  string          `json:"channel"`
	Sequence uint64          `json:"sequence"` // of the manifest
	Renewal  uint64          `json:"renewal"`  // 1 to MaxRenewal, higher with every renewal of one manifest
	Issued   time.Time       `json:"issued"`
	Expires  time.Time       `json:"expires"` // required
	Manifest json.RawMessage `json:"manifest"`
}

// renewed has the number of a renewal, and the manifest as it was published.
type renewed struct {
	number    uint64
	raw       []byte
	statement digest.Digest
}

// SignRenewal renews a manifest that was decoded from signed bytes until expires, and returns the envelope.
// [Trust.VerifyManifest] returns for it m with other times and the next renewal number. The keys of a role that may
// only renew suffice ([ActionRenew]).
func SignRenewal(m *Manifest, now, expires time.Time, keys ...PrivateKey) ([]byte, error) {
	if m.raw == nil {
		return nil, malformed("only a signed manifest can be renewed")
	}
	if m.Renewal() >= MaxRenewal {
		return nil, refuse(CodeMalformed, "publish to the channel, or set its rules again",
			"manifest of %s %s was renewed %d times, which is the limit", m.App, m.Channel, m.Renewal())
	}
	r := renewal{
		Schema: RenewalSchema, Org: m.Org, App: m.App, Channel: m.Channel, Sequence: m.Sequence, Renewal: m.Renewal() + 1,
		Issued: now.UTC().Truncate(time.Second), Expires: expires.UTC().Truncate(time.Second), Manifest: m.raw,
	}
	if m.renewed != nil {
		r.Manifest = m.renewed.raw
	}
	if err := checkSpan(r.Issued, r.Expires); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(&r)
	if err != nil {
		return nil, err
	}
	return seal(TypeRenewal, payload, keys)
}

// Renewal returns how often the manifest was renewed.
func (m *Manifest) Renewal() uint64 {
	if m.renewed == nil {
		return 0
	}
	return m.renewed.number
}

// Published returns the statement of the manifest before it was renewed; [Manifest.Statement] if it was not.
func (m *Manifest) Published() digest.Digest {
	if m.renewed == nil {
		return m.statement
	}
	return m.renewed.statement
}

// Order orders the manifests of a channel by sequence and then by renewal: the higher one is newer. Two with the same
// order and different statements are an equivocation.
func (m *Manifest) Order() uint64 { return OrderOf(m.Sequence, m.Renewal()) }

// OrderOf returns the [Manifest.Order] of a manifest with the sequence and renewal.
func OrderOf(sequence, renewal uint64) uint64 { return sequence<<renewalBits | renewal }

// numberOf returns a sequence, and the renewal if there is one, for people to read.
func numberOf(sequence, renewal uint64) string {
	if renewal == 0 {
		return fmt.Sprint(sequence)
	}
	return fmt.Sprintf("%d, renewal %d", sequence, renewal)
}

// decodeRenewal returns the manifest in a renewal, with the times of the renewal, and the envelope in which it was
// published.
func decodeRenewal(e *envelope) (*Manifest, *envelope, error) {
	var r renewal
	if err := decodePayload(e.payload, RenewalSchema, &r); err != nil {
		return nil, nil, err
	}
	if r.Renewal < 1 || r.Renewal > MaxRenewal {
		return nil, nil, malformed("renewal is %d, want 1 to %d", r.Renewal, MaxRenewal)
	}
	if r.Expires.IsZero() {
		return nil, nil, malformed("expires is missing")
	}
	if err := checkSpan(r.Issued, r.Expires); err != nil {
		return nil, nil, err
	}
	inner, err := open(r.Manifest, TypeManifest)
	if err != nil {
		return nil, nil, err
	}
	m, err := decodeManifest(inner)
	if err != nil {
		return nil, nil, err
	}
	if m.Org != r.Org || m.App != r.App || m.Channel != r.Channel || m.Sequence != r.Sequence {
		return nil, nil, malformed("renewal of sequence %d of %s %s has sequence %d of %s %s inside",
			r.Sequence, r.App, r.Channel, m.Sequence, m.App, m.Channel)
	}
	if r.Issued.Before(m.Issued) {
		return nil, nil, malformed("renewal was issued before its manifest")
	}
	m.renewed = &renewed{number: r.Renewal, raw: m.raw, statement: m.statement}
	m.raw, m.statement = e.raw, e.statement()
	m.Issued, m.Expires = r.Issued, r.Expires
	return m, inner, nil
}

// verifyRenewal verifies the signers of a renewal, and those of the manifest in it, which may have expired.
func (t *Trust) verifyRenewal(e *envelope, signers []string, now time.Time) (*Manifest, error) {
	m, inner, err := decodeRenewal(e)
	if err != nil {
		return nil, err
	}
	if err := t.authorise(signers, m.Org, m.App, m.Channel, ActionRenew); err != nil {
		return nil, err
	}
	_, publishers, err := t.open(inner.raw, func([]byte) (*envelope, error) { return inner, nil }, now)
	if err != nil {
		return nil, err
	}
	if err := t.authorise(publishers, m.Org, m.App, m.Channel, ActionPublish); err != nil {
		return nil, err
	}
	return m, t.checkEpoch(m)
}

// UnmarshalJSON decodes a renewal. It does not check the values.
func (r *renewal) UnmarshalJSON(raw []byte) error {
	type fields renewal
	var f fields
	_, err := decodeObject(raw, &f) // renewals are never modified, so unknown members need not be kept
	*r = renewal(f)
	return err
}
