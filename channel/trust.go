package channel

import (
	"maps"
	"slices"
	"time"

	"brink/digest"
)

// TrustSchema is the schema number of trust documents that this version reads and writes.
const TrustSchema = 1

// MaxSequence is the highest sequence of a manifest and version of a trust document: the highest integer that all JSON
// parsers represent exactly (RFC 7493, section 2.2).
const MaxSequence = 1<<53 - 1

// MaxSkew is how far ahead of the reader's clock a statement may have been issued.
const MaxSkew = 10 * time.Minute

// DevelopmentOrg is the name of the org that a node creates for development on one machine. By default its manifests do
// not expire.
const DevelopmentOrg = "development"

// Trust is an org's trust document, which defines who may publish what for the org's apps. It was verified with its own
// root keys. It is immutable and safe for concurrent use.
type Trust struct {
	doc       trustDocument
	raw       []byte
	statement digest.Digest
}

// trustDocument is the payload: JSON, schema 1. Roots and roles refer to Keys by ID.
type trustDocument struct {
	Schema  int                  `json:"schema"`
	Org     string               `json:"org"`
	Version uint64               `json:"version"` // 1 to MaxSequence
	Issued  time.Time            `json:"issued"`
	Expires time.Time            `json:"expires,omitzero"` // zero: never
	Keys    map[string]PublicKey `json:"keys"`             // by key ID, including roots
	Roots   []string             `json:"roots"`            // key IDs
	// Threshold is how many roots must sign this document and its successor.
	Threshold int    `json:"threshold"`
	Roles     []Role `json:"roles,omitempty"`
	Quota     int64  `json:"quota,omitempty"` // bytes in a store, 0: none
	// Epochs lists the channels whose sequences the roots have reset, see Epoch.
	Epochs []Epoch `json:"epochs,omitempty"`

	unknown unknown
}

func (d trustDocument) MarshalJSON() ([]byte, error) {
	type fields trustDocument
	return encodeObject(fields(d), d.unknown)
}

func (d *trustDocument) UnmarshalJSON(raw []byte) error {
	type fields trustDocument
	var f fields
	rest, err := decodeObject(raw, &f)
	*d = trustDocument(f)
	d.unknown = rest
	return err
}

// ParseTrust parses the first trust document of an org that a node or device gets. Enough of its own root keys must
// have signed it. That proves integrity but not authenticity, for which the caller must trust the source. Later
// documents go through [Trust.Accept]. ParseTrust ignores signatures of other keys, such as those of its predecessor's
// roots.
func ParseTrust(raw []byte, now time.Time) (*Trust, error) {
	t, err := LoadTrust(raw)
	if err != nil {
		return nil, err
	}
	if err := checkTimes("trust document", t.doc.Issued, t.doc.Expires, now); err != nil {
		return nil, err
	}
	return t, nil
}

// LoadTrust parses a trust document that was accepted and stored before. It is ParseTrust without the check of times:
// an expired document allows nothing any more, but [Trust.Accept] still verifies its successor with it.
func LoadTrust(raw []byte) (*Trust, error) {
	e, err := open(raw, TypeTrust)
	if err != nil {
		return nil, err
	}
	t := &Trust{raw: e.raw, statement: e.statement()}
	if err := decodePayload(e.payload, TrustSchema, &t.doc); err != nil {
		return nil, err
	}
	if err := t.doc.check(); err != nil {
		return nil, err
	}
	if err := t.checkRoot(e); err != nil {
		return nil, err
	}
	return t, nil
}

// Accept returns the trust document that replaces t: next as [Trust.Succeed] returns it, if now is within its times. An
// expired t can be replaced.
func (t *Trust) Accept(next []byte, now time.Time) (*Trust, error) {
	n, err := t.Succeed(next)
	if err != nil || n == t {
		return n, err
	}
	if err := checkTimes("trust document", n.doc.Issued, n.doc.Expires, now); err != nil {
		return nil, err
	}
	return n, nil
}

// Succeed returns the trust document that replaces t, without checking times. It must be of the same org, have a higher
// version, lower no epoch (see [Epoch]), and be signed by enough root keys of t and enough of its own (as in TUF,
// section 5.3.4 of its specification), so that roots can be replaced but not taken over. If next has the same statement
// as t, Succeed returns t.
func (t *Trust) Succeed(next []byte) (*Trust, error) {
	e, err := open(next, TypeTrust)
	if err != nil {
		return nil, err
	}
	// Check the roots in force first, before more work is spent on an untrusted document.
	if err := t.checkRoot(e); err != nil {
		return nil, err
	}
	n, err := LoadTrust(next)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Org() != t.Org():
		return nil, refuse(CodeWrongOrg, "", "trust document is of org %q, want %q", n.Org(), t.Org())
	case n.statement == t.statement:
		return t, nil
	case n.Version() == t.Version():
		return nil, refuse(CodeEquivocation, "sign it again with a higher version",
			"another trust document of org %s already has version %d", t.Org(), t.Version())
	case n.Version() < t.Version():
		return nil, refuse(CodeTrustVersionNotHigher, "fetch the document in force and make the next one from it",
			"trust document of org %s has version %d, but %d is in force", t.Org(), n.Version(), t.Version())
	}
	if err := t.checkEpochs(n); err != nil {
		return nil, err
	}
	return n, nil
}

// checkRoot checks that enough root keys of t signed e.
func (t *Trust) checkRoot(e *envelope) error {
	signers, err := e.signers(func(id string) (PublicKey, bool) {
		return t.doc.Keys[id], slices.Contains(t.doc.Roots, id)
	}, false)
	if err != nil {
		return err
	}
	if n := count(t.doc.Roots, signers); n < t.doc.Threshold {
		return refuse(CodeNotEnoughSignatures, "collect the missing signatures of root keys",
			"trust document has %d signatures of the root keys of version %d, which requires %d",
			n, t.Version(), t.doc.Threshold)
	}
	return nil
}

func (d *trustDocument) check() error {
	if err := CheckOrg(d.Org); err != nil {
		return err
	}
	if d.Version < 1 || d.Version > MaxSequence {
		return malformed("trust document has version %d, want 1 to %d", d.Version, uint64(MaxSequence))
	}
	if err := checkSpan(d.Issued, d.Expires); err != nil {
		return err
	}
	if d.Quota < 0 || d.Quota > MaxSequence {
		return malformed("quota is %d bytes, want 0 to %d", d.Quota, uint64(MaxSequence))
	}
	for id, key := range d.Keys {
		if key.IsZero() || key.ID() != id {
			return malformed("key with the ID %q does not match its ID", id)
		}
	}
	if err := checkSigners("root", d.Roots, d.Threshold, d.Keys); err != nil {
		return err
	}
	names := make(map[string]bool, len(d.Roles))
	for i := range d.Roles {
		role := &d.Roles[i]
		if err := role.check(d.Keys); err != nil {
			return err
		}
		if names[role.Name] {
			return malformed("two roles are called %q", role.Name)
		}
		names[role.Name] = true
	}
	return checkEpochList(d.Epochs)
}

// Org returns the org's name.
func (t *Trust) Org() string { return t.doc.Org }

// Version returns the version, 1 or higher.
func (t *Trust) Version() uint64 { return t.doc.Version }

// Issued returns when the document was signed.
func (t *Trust) Issued() time.Time { return t.doc.Issued }

// Expires returns the time from which the document allows nothing; zero means never.
func (t *Trust) Expires() time.Time { return t.doc.Expires }

// Quota returns how many bytes the org may use in a store; 0 means that the document sets no limit.
func (t *Trust) Quota() int64 { return t.doc.Quota }

// Raw returns the signed bytes. The caller must not change them.
func (t *Trust) Raw() []byte { return t.raw }

// Digest returns the digest of the signed bytes.
func (t *Trust) Digest() digest.Digest { return digest.Sum(t.raw) }

// HasApp reports whether the org claims the app: whether a role includes it.
func (t *Trust) HasApp(app string) bool {
	return slices.ContainsFunc(t.doc.Roles, func(r Role) bool { return matches(r.Apps, app) })
}

// Roles returns copies of the roles that include the app and the channel, in the document's order.
func (t *Trust) Roles(app, channel string) []Role {
	var fit []Role
	for i := range t.doc.Roles {
		if r := &t.doc.Roles[i]; r.Includes(app, channel) {
			fit = append(fit, r.clone())
		}
	}
	return fit
}

// Next returns the content of t with the next version, to be changed and signed. The caller sets Issued, and Expires if
// the document expires.
func (t *Trust) Next() TrustConfig {
	d := &t.doc
	c := TrustConfig{Org: d.Org, Version: d.Version + 1, Threshold: d.Threshold, Quota: d.Quota}
	c.unknown = d.unknown.clone()
	for i := range d.Epochs {
		c.Epochs = append(c.Epochs, d.Epochs[i].clone())
	}
	for _, id := range d.Roots {
		c.Roots = append(c.Roots, d.Keys[id])
	}
	// If the caller removes a root from Roots, its key must not remain in Keys, unless a role lists it too.
	inRole := func(id string) bool {
		return slices.ContainsFunc(d.Roles, func(r Role) bool { return slices.Contains(r.Keys, id) })
	}
	for _, id := range slices.Sorted(maps.Keys(d.Keys)) {
		if !slices.Contains(d.Roots, id) || inRole(id) {
			c.Keys = append(c.Keys, d.Keys[id])
		}
	}
	for i := range d.Roles {
		c.Roles = append(c.Roles, d.Roles[i].clone())
	}
	return c
}
