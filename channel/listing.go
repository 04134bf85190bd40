package channel

import (
	"encoding/json"
	"time"
)

// ListingSchema is the schema number of listings that this version reads and writes.
const ListingSchema = 1

// ListingLife is the longest lifetime of a listing: an eavesdropper can replay one until it expires.
const ListingLife = 10 * time.Minute

// Listing is a signed request for the channels of an org. It is signed because the names of apps are only for holders
// of the org's keys. It changes nothing, so one key of a role suffices, whatever the role's threshold.
type Listing struct {
	Schema  int       `json:"schema"` // ListingSchema
	Org     string    `json:"org"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"` // at most ListingLife after Issued

	trust   *Trust // with which it was verified
	signers []string
	roles   []*Role // of the signers
}

// SignListing signs a listing of the org with each key and returns the envelope. It is valid for [ListingLife] from now
// on.
func SignListing(org string, now time.Time, keys ...PrivateKey) ([]byte, error) {
	issued := now.UTC().Truncate(time.Second)
	l := Listing{Schema: ListingSchema, Org: org, Issued: issued, Expires: issued.Add(ListingLife)}
	if err := l.check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(&l)
	if err != nil {
		return nil, err
	}
	return seal(TypeListing, payload, keys)
}

// VerifyListing decodes a signed listing and verifies it as [Trust.VerifyManifest] does a manifest. Any key of a role
// that may renew or publish something may sign one; [Listing.Shows] reports which channels the signers may see.
func (t *Trust) VerifyListing(raw []byte, now time.Time) (*Listing, error) {
	e, signers, err := t.open(raw, func(raw []byte) (*envelope, error) { return open(raw, TypeListing) }, now)
	if err != nil {
		return nil, err
	}
	l := new(Listing)
	if err := decodePayload(e.payload, ListingSchema, l); err != nil {
		return nil, err
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	if err := t.checkOrg(signers, l.Org); err != nil {
		return nil, err
	}
	l.trust, l.signers = t, signers
	for i := range t.doc.Roles {
		// A role that may publish may renew too, so one that may not renew has no permission that this version knows.
		if role := &t.doc.Roles[i]; count(role.Keys, signers) > 0 && role.may(ActionRenew) {
			l.roles = append(l.roles, role)
		}
	}
	if len(l.roles) == 0 {
		return nil, refuse(CodeWrongRole, "sign with a key of a role, and not with a root key",
			"the signing keys are in no role of org %s", t.Org())
	}
	return l, checkTimes("listing", l.Issued, l.Expires, now)
}

// Shows reports whether the signers may see the channel: whether one of their roles includes it. The listing must be
// one that [Trust.VerifyListing] returned.
func (l *Listing) Shows(app, channel string) bool {
	for _, role := range l.roles {
		if role.Includes(app, channel) {
			return true
		}
	}
	return false
}

// MayRenew reports whether a renewal of the channel by the same signers would be valid. The listing must be one that
// [Trust.VerifyListing] returned.
func (l *Listing) MayRenew(app, channel string) bool {
	return l.trust.authorise(l.signers, l.Org, app, channel, ActionRenew) == nil
}

// UnmarshalJSON decodes a listing. It does not check the values.
func (l *Listing) UnmarshalJSON(raw []byte) error {
	type fields Listing
	var f fields
	_, err := decodeObject(raw, &f) // listings are never modified, so unknown members need not be kept
	*l = Listing(f)
	return err
}

func (l *Listing) check() error {
	if err := CheckOrg(l.Org); err != nil {
		return err
	}
	if l.Expires.IsZero() {
		return malformed("expires is missing")
	}
	if err := checkSpan(l.Issued, l.Expires); err != nil {
		return err
	}
	if life := l.Expires.Sub(l.Issued); life > ListingLife {
		return malformed("listing is valid for %s, want at most %s", life, ListingLife)
	}
	return nil
}
