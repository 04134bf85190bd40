package channel

import (
	"cmp"
	"encoding/json"
	"time"
)

// TrustConfig is the content of a trust document. Fill in the first one, and make each later one from [Trust.Next].
type TrustConfig struct {
	Org       string
	Version   uint64      // 0 means 1
	Issued    time.Time   // required
	Expires   time.Time   // zero: never
	Roots     []PublicKey // at least one
	Threshold int         // how many roots must sign, at most MaxSignatures; 0 means 1
	Keys      []PublicKey // the keys of roles; roots need not be repeated
	Roles     []Role      // a Threshold of 0 means 1
	Quota     int64       // bytes that the org may use in a store; 0 means no limit
	Epochs    []Epoch     // see TrustConfig.Reset

	unknown unknown
}

// Validate returns the first reason why c is not a valid trust document, as a [*RefusedError].
func (c TrustConfig) Validate() error { return c.document().check() }

// NewTrust signs the trust document that c describes and returns the envelope. It needs the signatures of enough roots
// of c and, for a version above 1, of enough roots of the version before; [Cosign] can add missing ones. NewTrust does
// not check that there are enough: [ParseTrust] and [Trust.Accept] do.
func NewTrust(c TrustConfig, keys ...PrivateKey) ([]byte, error) {
	doc := c.document()
	if err := doc.check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return seal(TypeTrust, payload, keys)
}

func (c TrustConfig) document() *trustDocument {
	d := &trustDocument{
		Schema:    TrustSchema,
		Org:       c.Org,
		Version:   cmp.Or(c.Version, 1),
		Issued:    c.Issued.UTC(),
		Expires:   c.Expires.UTC(),
		Keys:      make(map[string]PublicKey),
		Threshold: cmp.Or(c.Threshold, 1),
		Quota:     c.Quota,
		unknown:   c.unknown.clone(),
	}
	for i := range c.Epochs {
		d.Epochs = append(d.Epochs, c.Epochs[i].clone())
	}
	for _, key := range c.Roots {
		d.Keys[key.ID()] = key
		d.Roots = append(d.Roots, key.ID())
	}
	for _, key := range c.Keys {
		d.Keys[key.ID()] = key
	}
	for i := range c.Roles {
		role := c.Roles[i].clone()
		role.Threshold = cmp.Or(role.Threshold, 1)
		d.Roles = append(d.Roles, role)
	}
	return d
}
