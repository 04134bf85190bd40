package channel

import (
	"encoding/json"
	"fmt"
	"time"

	"brink/digest"
)

// RenewalSchema is the schema number of renewals that this version reads and writes.
const RenewalSchema = 1

// MaxRenewal is how often a manifest can be renewed before its channel has to be published to: with one renewal a day
// for more than five years.
const MaxRenewal = 1<<renewalBits - 1

// renewalBits is how many bits of [Manifest.Order] count renewals: what [MaxSequence] leaves of 64.
const renewalBits = 11

// renewal is the payload of a renewed manifest: JSON, schema 1. It holds the manifest as it was published, and says
// that it is good for longer. All else is as in the manifest, so a key that may only renew can change nothing else; and
// since the sequence stays, whatever is published next is newer than every renewal of what was before.
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

// renewed is what a renewed manifest remembers of the manifest that was published.
type renewed struct {
	number    uint64
	raw       []byte
	statement digest.Digest
}

// SignRenewal signs that a manifest, which was read from signed bytes, is good until expires, and returns the envelope:
// what [Trust.VerifyManifest] returns for it is m with other times and one renewal more. A role suffices that may do
// nothing else ([ActionRenew]).
func SignRenewal(m *Manifest, now, expires time.Time, keys ...PrivateKey) ([]byte, error) {
	if m.raw == nil {
		return nil, malformed("only a manifest that was signed can be renewed")
	}
	if m.Renewal() >= MaxRenewal {
		return nil, refuse(CodeMalformed, "publish to the channel, or set its rules again",
			"manifest of %s %s was renewed %d times, and cannot be again", m.App, m.Channel, m.Renewal())
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

// Renewal returns how often the manifest was renewed; 0: never.
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

// Order orders the manifests of a channel: the higher one is newer, by its sequence and then by its renewal. Two with
// one order and different statements are an equivocation.
func (m *Manifest) Order() uint64 { return OrderOf(m.Sequence, m.Renewal()) }

// OrderOf returns the order of a manifest with the sequence and renewal, see [Manifest.Order].
func OrderOf(sequence, renewal uint64) uint64 { return sequence<<renewalBits | renewal }

// numberOf returns a sequence, and the renewal if there is one, for people.
func numberOf(sequence, renewal uint64) string {
	if renewal == 0 {
		return fmt.Sprint(sequence)
	}
	return fmt.Sprintf("%d, renewal %d", sequence, renewal)
}

// decodeRenewal returns the manifest that a renewal holds, with the times of the renewal, and the envelope that it was
// published in.
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
		return nil, nil, malformed("renewal of sequence %d of %s %s holds sequence %d of %s %s",
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

// verifyRenewal checks a renewal by who signed it, and the manifest in it by who signed that. Whether that has expired
// makes no difference.
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

// UnmarshalJSON reads a renewal; it does not check the values.
func (r *renewal) UnmarshalJSON(raw []byte) error {
	type fields renewal
	var f fields
	_, err := decodeObject(raw, &f) // nothing is made from a renewal, so what is unknown has nowhere to be lost
	*r = renewal(f)
	return err
}
