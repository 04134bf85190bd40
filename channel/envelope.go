package channel

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"brink/digest"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Bounds of a signed document, including the envelope, in bytes. They are checked before anything is parsed.
const (
	MaxTrust    = 1 << 20
	MaxManifest = 256 << 10 // of a renewed manifest; for one that was not renewed the bound is lower
	MaxIntent   = 64 << 10
	MaxListing  = 16 << 10 // with MaxSignatures it has less than 12 KiB
)

// maxPublished bounds a manifest that was not renewed, in bytes, so that its renewals, which contain it in base64, are
// within MaxManifest.
const maxPublished = 176 << 10

// MaxSignatures is the largest number of signatures on one document, and the largest threshold. It bounds the work that
// an untrusted document can cause.
const MaxSignatures = 64

// Payload types of the envelopes. The type is signed together with the payload, so a signature for one kind of
// statement is not valid for another.
const (
	TypeTrust    = "application/vnd.brink.trust+json"
	TypeManifest = "application/vnd.brink.manifest+json"
	TypeIntent   = "application/vnd.brink.intent+json"
	TypeRenewal  = "application/vnd.brink.renewal+json"
	TypeListing  = "application/vnd.brink.listing+json"
)

// limit returns the bound for a payload type, and 0 for an unknown type.
func limit(payloadType string) int {
	switch payloadType {
	case TypeTrust:
		return MaxTrust
	case TypeManifest:
		return maxPublished
	case TypeRenewal:
		return MaxManifest
	case TypeIntent:
		return MaxIntent
	case TypeListing:
		return MaxListing
	}
	return 0
}

// envelope is a decoded DSSE envelope: well-formed and of the right type, with signatures that are not verified yet.
//
// Plain DSSE lets anyone without a key change the bytes of a valid envelope: add white space, a field or a signature of
// an unknown key, or encode the base64 differently. Each variant would have another digest, and so look like an
// equivocation, or win against the original where the larger digest wins. So an envelope has only one encoding:
//
//	{"payloadType":TYPE,"payload":BASE64,"signatures":[{"keyid":ID,"sig":BASE64},…]}
//
// without white space, in this order, base64 with padding as in RFC 4648, section 4, and signatures in ascending order
// of key ID, one per key. JSON.stringify can write it and every DSSE verifier can read it. A stranger can still remove
// a signature that the threshold does not need. So statements are compared by their statement digest, which does not
// cover signatures.
type envelope struct {
	dsse.Envelope
	raw     []byte
	payload []byte
}

// open decodes an envelope. An empty payloadType means any that this package knows.
func open(raw []byte, payloadType string) (*envelope, error) {
	bound := limit(cmp.Or(payloadType, TypeTrust)) // trust documents may be the largest
	if len(raw) > bound {
		return nil, refuse(CodeTooLarge, "", "document has %d bytes, want at most %d", len(raw), bound)
	}
	// The one encoding has a brace for the envelope and one for each signature. Refuse more before decoding them.
	if n := bytes.Count(raw, []byte("{")); n > 1+MaxSignatures {
		return nil, malformed("envelope has %d objects, want at most %d", n, 1+MaxSignatures)
	}
	e := &envelope{raw: bytes.Clone(raw)}
	if err := json.Unmarshal(raw, &e.Envelope); err != nil {
		return nil, malformed("envelope: %v", err)
	}
	switch {
	case limit(e.PayloadType) == 0, payloadType != "" && payloadType != e.PayloadType:
		want := cmp.Or(payloadType, "one of Brink")
		return nil, refuse(CodeWrongType, "", "document is a %q, want %s", e.PayloadType, want)
	case len(raw) > limit(e.PayloadType):
		return nil, refuse(CodeTooLarge, "", "document has %d bytes, want at most %d", len(raw), limit(e.PayloadType))
	case len(e.Signatures) > MaxSignatures:
		return nil, malformed("envelope has %d signatures, want at most %d", len(e.Signatures), MaxSignatures)
	}
	for i, s := range e.Signatures {
		if _, err := digest.ParseSHA256(s.KeyID); err != nil {
			return nil, malformed("envelope: key ID of signature %d: %v", i, err)
		}
		if i > 0 && s.KeyID <= e.Signatures[i-1].KeyID {
			return nil, malformed("envelope: signatures are not in ascending order of key ID, one per key")
		}
		if sig, err := decodeBase64(s.Sig); err != nil || len(sig) != ed25519.SignatureSize {
			return nil, malformed("envelope: signature %d is not %d bytes of base64", i, ed25519.SignatureSize)
		}
	}
	var err error
	if e.payload, err = decodeBase64(e.Payload); err != nil {
		return nil, malformed("envelope: payload: %v", err)
	}
	again, err := e.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) {
		return nil, refuse(CodeMalformed, "store signed documents byte for byte, without a newline at the end",
			"envelope is not in canonical form")
	}
	return e, nil
}

// decodeBase64 accepts only the canonical encoding; the standard decoder would skip line breaks.
func decodeBase64(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && strings.ContainsAny(text, "\r\n") {
		err = fmt.Errorf("line break in base64")
	}
	return raw, err
}

func (e *envelope) encode() ([]byte, error) {
	if e.Signatures == nil {
		return nil, refuse(CodeMalformed, "", "envelope has no signatures")
	}
	return json.Marshal(e.Envelope)
}

// statement returns the digest of the signed payload, which does not cover the signatures.
func (e *envelope) statement() digest.Digest { return digest.Sum(e.payload) }

// signers verifies every signature by a key that find returns, and returns the IDs of those keys. If one does not match
// it refuses the whole envelope, even if others would suffice: the document was tampered with. It ignores signatures of
// other keys, or refuses them if strict.
func (e *envelope) signers(find func(id string) (PublicKey, bool), strict bool) ([]string, error) {
	var ids []string
	var verifiers []dsse.Verifier
	for _, s := range e.Signatures {
		key, ok := find(s.KeyID)
		if ok {
			ids = append(ids, s.KeyID)
			verifiers = append(verifiers, verifier{key, s.KeyID})
		} else if strict {
			return nil, refuse(CodeUnknownKey, "sign with a key that is in the trust document in force",
				"signed by key %s, which is not in the trust document", s.KeyID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	// Each signature names its key and each key signs once, so with this threshold all signatures must match.
	check, err := dsse.NewMultiEnvelopeVerifier(len(verifiers), verifiers...)
	if err != nil {
		return nil, fmt.Errorf("check signatures: %w", err)
	}
	if _, err := check.Verify(context.Background(), &e.Envelope); err != nil {
		return nil, refuse(CodeBadSignature, "fetch the document again: it was changed in transit or on disk",
			"a signature does not match: %v", err)
	}
	return ids, nil
}

// seal signs payload with every key and returns the envelope's bytes.
func seal(payloadType string, payload []byte, keys []PrivateKey) ([]byte, error) {
	signers := make([]dsse.Signer, 0, len(keys))
	for _, k := range keys {
		signers = append(signers, signer{k})
	}
	es, err := dsse.NewEnvelopeSigner(signers...)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signed, err := es.SignPayload(context.Background(), payloadType, payload)
	if err != nil {
		return nil, err
	}
	return finish(&envelope{Envelope: *signed})
}

// finish sorts the signatures, encodes the envelope, and refuses it if open would.
func finish(e *envelope) ([]byte, error) {
	byID := func(a, b dsse.Signature) int { return cmp.Compare(a.KeyID, b.KeyID) }
	slices.SortFunc(e.Signatures, byID)
	// A key that was passed twice has made the same signature twice: Ed25519 is deterministic.
	e.Signatures = slices.Compact(e.Signatures)
	raw, err := e.encode()
	if err != nil {
		return nil, err
	}
	if _, err := open(raw, e.PayloadType); err != nil {
		return nil, err
	}
	return raw, nil
}

// Cosign adds the signature of one more key to a signed document of any kind, for thresholds whose keys are on
// different machines. The result does not depend on the order in which keys sign. Cosign checks only the form of the
// envelope, not its content or its other signatures: inspect what you sign first ([ReadDraft]).
func Cosign(raw []byte, key PrivateKey) ([]byte, error) {
	e, err := open(raw, "")
	if err != nil {
		return nil, err
	}
	sig, err := key.sign(dsse.PAE(e.PayloadType, e.payload))
	if err != nil {
		return nil, err
	}
	own := dsse.Signature{KeyID: key.Public().ID(), Sig: base64.StdEncoding.EncodeToString(sig)}
	e.Signatures = slices.DeleteFunc(e.Signatures, func(s dsse.Signature) bool { return s.KeyID == own.KeyID })
	e.Signatures = append(e.Signatures, own)
	return finish(e)
}

// signer and verifier adapt keys to the DSSE library.
type signer struct{ key PrivateKey }

func (s signer) Sign(_ context.Context, data []byte) ([]byte, error) { return s.key.sign(data) }
func (s signer) KeyID() (string, error)                              { return s.key.Public().ID(), nil }

type verifier struct {
	key PublicKey
	id  string
}

func (v verifier) Verify(_ context.Context, data, sig []byte) error { return v.key.check(data, sig) }
func (v verifier) KeyID() (string, error)                           { return v.id, nil }
func (v verifier) Public() crypto.PublicKey                         { return ed25519.PublicKey(v.key.key[:]) }
