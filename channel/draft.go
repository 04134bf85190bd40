package channel

import "time"

// Draft is a signed document to which signatures may still be added, for whoever is about to add one with [Cosign].
// Nothing in it is to be acted on: it may be what anybody wrote.
type Draft struct {
	Trust    *TrustConfig // what a trust document says, with its own version; nil: it is none
	Manifest *Manifest    // of a channel, or a renewal of it; nil: it is none
	SignedBy []string     // IDs of keys, in ascending order
}

// ReadDraft reads a trust document or a channel manifest whoever signed it. It checks all of its form, and the
// signatures of those keys that a trust document itself holds.
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

// SignHalf is [Trust.SignNext] when more roots have to sign before t accepts the document. It reports whether they have
// to.
func (t *Trust) SignHalf(c TrustConfig, now time.Time, roots ...PrivateKey) (raw []byte, half bool, err error) {
	raw, err = t.SignNext(c, now, roots...)
	if CodeOf(err) != CodeNotEnoughSignatures {
		return raw, false, err
	}
	raw, err = NewTrust(c, roots...)
	return raw, true, err
}
