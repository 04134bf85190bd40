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

// Bounds of a signed document, the envelope included, in bytes. They are checked before anything is parsed.
const (
	MaxTrust    = 1 << 20
	MaxManifest = 256 << 10 // of a manifest that was renewed; before, maxPublished
	MaxIntent   = 64 << 10
	MaxListing  = 16 << 10 // with MaxSignatures it has less than 12 KiB
)

// maxPublished bounds a manifest that was not renewed, so that its renewals, which hold it in base64, stay within
// MaxManifest.
const maxPublished = 176 << 10

// MaxSignatures is the highest number of signatures on one document and of keys that a threshold can ask for. It bounds
// the work that a stranger's document can cause.
const MaxSignatures = 64

// Payload types of the envelopes. The type is signed together with the payload, so a signature under one kind of
// statement is none under another.
const (
	TypeTrust    = "application/vnd.brink.trust+json"
	TypeManifest = "application/vnd.brink.manifest+json"
	TypeIntent   = "application/vnd.brink.intent+json"
	TypeRenewal  = "application/vnd.brink.renewal+json"
	TypeListing  = "application/vnd.brink.listing+json"
)

// limit returns the bound for a payload type, and 0 for a type that is none of ours.
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

// envelope is a DSSE envelope that was opened: well-formed and of the right type, its signatures not yet checked.
//
// Plain DSSE lets anyone who holds no key make other bytes of a good envelope: add white space, a field or a signature
// of an unknown key, or write the base64 in another way. Each would have another digest, and so look like an
// equivocation, or win against the original where the larger digest wins. Hence an envelope has one byte form only:
//
//	{"payloadType":TYPE,"payload":BASE64,"signatures":[{"keyid":ID,"sig":BASE64},…]}
//
// without white space, in this order, base64 with padding as in RFC 4648, section 4, and signatures in ascending order
// of key ID, one per key. JSON.stringify and every verifier of DSSE can make and read it. What is left to a stranger is
// to leave out a signature that the threshold does not need; so what was said is compared by its statement digest,
// which does not cover signatures.
type envelope struct {
	dsse.Envelope
	raw     []byte
	payload []byte
}

// open reads an envelope. An empty payloadType means any that this package knows.
func open(raw []byte, payloadType string) (*envelope, error) {
	bound := limit(cmp.Or(payloadType, TypeTrust)) // trust documents may be the largest
	if len(raw) > bound {
		return nil, refuse(CodeTooLarge, "", "document has %d bytes, want at most %d", len(raw), bound)
	}
	// The one form has a brace for the envelope and one for each signature. More would be decoded for nothing.
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
		return nil, refuse(CodeMalformed, "keep signed documents byte for byte, without a line end behind them",
			"envelope is not in its one byte form")
	}
	return e, nil
}

// decodeBase64 accepts each value in one spelling only; the decoder alone skips line ends.
func decodeBase64(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && strings.ContainsAny(text, "\r\n") {
		err = fmt.Errorf("line ends in base64")
	}
	return raw, err
}

func (e *envelope) encode() ([]byte, error) {
	if e.Signatures == nil {
		return nil, refuse(CodeMalformed, "", "envelope has no signatures")
	}
	return json.Marshal(e.Envelope)
}

// statement is the digest of what was signed, without the signatures.
func (e *envelope) statement() digest.Digest { return digest.Sum(e.payload) }

// signers checks every signature by a key that find knows, and returns the IDs of those keys. One that does not match
// refuses the whole envelope: a document that was tampered with is not read for what may be left of it. A signature of
// a key that find does not know is refused too if strict, and passed over otherwise.
func (e *envelope) signers(find func(id string) (PublicKey, bool), strict bool) ([]string, error) {
	var ids []string
	var verifiers []dsse.Verifier
	for _, s := range e.Signatures {
		key, ok := find(s.KeyID)
		if ok {
			ids = append(ids, s.KeyID)
			verifiers = append(verifiers, verifier{key, s.KeyID})
		} else if strict {
			return nil, refuse(CodeUnknownKey, "sign with a key that the trust document in force holds",
				"signed by key %s, which the trust document does not hold", s.KeyID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	// Each signature names its key and each key signs once, so a threshold of all of them means that all match.
	check, err := dsse.NewMultiEnvelopeVerifier(len(verifiers), verifiers...)
	if err != nil {
		return nil, fmt.Errorf("check signatures: %w", err)
	}
	if _, err := check.Verify(context.Background(), &e.Envelope); err != nil {
		return nil, refuse(CodeBadSignature, "fetch the document again: it was changed on its way or on disk",
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

// finish puts the signatures in order, writes the envelope, and refuses it where open would.
func finish(e *envelope) ([]byte, error) {
	byID := func(a, b dsse.Signature) int { return cmp.Compare(a.KeyID, b.KeyID) }
	slices.SortFunc(e.Signatures, byID)
	// A key that was given twice has made the same signature twice: Ed25519 is deterministic.
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

// Cosign adds the signature of one more key to a signed document of any kind, for thresholds whose keys lie on
// different machines. The order in which keys sign makes no difference to the result. It checks the form of the
// envelope and neither its content nor its other signatures: look at what you sign before you do.
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

// signer and verifier are what the DSSE library wants of a key.
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
