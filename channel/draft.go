package channel

import "time"

// Draft is the content of a signed document that may still need signatures, to be inspected before [Cosign] adds one.
// It is not verified, so nothing may be done by it: anybody may have written it.
type Draft struct {
	Trust    *TrustConfig // of a trust document, with its own version; nil for another document
	Manifest *Manifest    // of a channel manifest or a renewal; nil for another document
	SignedBy []string     // key IDs, in ascending order
}

// ReadDraft parses a trust document or a channel manifest without verifying who signed it. It checks the form, and for
// a trust document the signatures of the keys that it lists.
func ReadDraft(raw []byte) (*Draft, error) {
	e, err := open(raw, "")
	if err != nil {
		return nil, err
	}
	d := new(Draft)
	for _, s := range e.Signatures {
		d.SignedBy = append(d.SignedBy, s.KeyID)
	}
	switch e.PayloadType {
	case TypeManifest, TypeRenewal:
		d.Manifest, err = ParseManifest(raw)
		return d, err
	case TypeTrust:
	default:
		return nil, refuse(CodeWrongType, "", "document is a %q, want a trust document or a channel manifest", e.PayloadType)
	}
	t := new(Trust)
	if err := decodePayload(e.payload, TrustSchema, &t.doc); err != nil {
		return nil, err
	}
	if err := t.doc.check(); err != nil {
		return nil, err
	}
	find := func(id string) (PublicKey, bool) { key, ok := t.doc.Keys[id]; return key, ok }
	if _, err := e.signers(find, false); err != nil {
		return nil, err
	}
	c := t.Next()
	c.Version, c.Issued, c.Expires = t.doc.Version, t.doc.Issued, t.doc.Expires
	d.Trust = &c
	return d, nil
}

// SignPartial is [Trust.SignNext], but also succeeds if other roots still have to sign before t accepts the document,
// and reports whether they have to.
func (t *Trust) SignPartial(c TrustConfig, now time.Time, roots ...PrivateKey) (raw []byte, partial bool, err error) {
	raw, err = t.SignNext(c, now, roots...)
	if CodeOf(err) != CodeNotEnoughSignatures {
		return raw, false, err
	}
	raw, err = NewTrust(c, roots...)
	return raw, true, err
}
