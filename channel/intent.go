package channel

import (
	"encoding/json"
	"time"

	"brink/digest"
)

// IntentSchema is the schema number of intents that this version reads and writes.
const IntentSchema = 1

// Intent is what a publisher signs before an upload: that this bundle is to be stored for this app. The index digest
// covers every path, size and chunk, so an intent allows exactly these chunks.
type Intent struct {
	Schema    int           `json:"schema"` // IntentSchema; SignIntent sets it
	Org       string        `json:"org"`
	App       string        `json:"app"`
	Version   string        `json:"version"`   // semver, see CheckVersion
	Bundle    digest.Digest `json:"bundle"`    // of the archive
	Index     digest.Digest `json:"index"`     // of the encoded index
	Size      int64         `json:"size"`      // of the archive, bytes
	IndexSize int64         `json:"indexSize"` // of the encoded index, bytes
	Files     int           `json:"files"`
	Issued    time.Time     `json:"issued"`
	Expires   time.Time     `json:"expires"` // required: an intent is for one upload

	raw []byte
}

// SignIntent checks the intent, signs it with each key and returns the envelope.
func SignIntent(in *Intent, keys ...PrivateKey) ([]byte, error) {
	signed := *in
	signed.Schema = IntentSchema
	signed.Issued, signed.Expires = in.Issued.UTC(), in.Expires.UTC()
	if err := signed.check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(&signed)
	if err != nil {
		return nil, err
	}
	return seal(TypeIntent, payload, keys)
}

// Raw returns the signed bytes from which the intent was decoded, if any. The caller must not change them.
func (in *Intent) Raw() []byte { return in.raw }

// UnmarshalJSON decodes an intent. It does not check the values.
func (in *Intent) UnmarshalJSON(raw []byte) error {
	type fields Intent
	var f fields
	_, err := decodeObject(raw, &f) // intents are never modified, so unknown members need not be kept
	*in = Intent(f)
	return err
}

func decodeIntent(e *envelope) (*Intent, error) {
	in := new(Intent)
	if err := decodePayload(e.payload, IntentSchema, in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	in.raw = e.raw
	return in, nil
}

func (in *Intent) check() error {
	if err := CheckOrg(in.Org); err != nil {
		return err
	}
	if err := CheckApp(in.App); err != nil {
		return err
	}
	if err := CheckVersion(in.Version); err != nil {
		return err
	}
	if err := checkContent(in.Bundle, in.Index, in.Size, in.IndexSize, in.Files); err != nil {
		return err
	}
	if in.Expires.IsZero() {
		return malformed("expires is missing")
	}
	return checkSpan(in.Issued, in.Expires)
}

// checkContent checks the properties of a bundle that intents and releases have in common.
func checkContent(bundle, index digest.Digest, size, indexSize int64, files int) error {
	switch {
	case bundle.IsZero():
		return malformed("bundle is missing")
	case index.IsZero():
		return malformed("index is missing")
	case size < 1 || size > MaxSequence:
		return malformed("size is %d bytes, want 1 or more", size)
	case indexSize < 1 || indexSize > MaxSequence:
		return malformed("indexSize is %d bytes, want 1 or more", indexSize)
	case files < 1:
		return malformed("files is %d, want 1 or more", files)
	}
	return nil
}
