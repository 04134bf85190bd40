package channel

import (
	"encoding/json"
	"time"
)

// ListingSchema is the schema number of listings that this version reads and writes.
const ListingSchema = 1

// ListingLife is the longest time that a listing is good for: whoever overhears one can repeat it for as long.
const ListingLife = 10 * time.Minute

// Listing is what somebody signs to be told which channels an org has: the names of its apps are for those who hold one
// of its keys only. It changes nothing, so one key of a role suffices, whatever the role's threshold.
type Listing struct {
	Schema  int       `json:"schema"` // ListingSchema
	Org     string    `json:"org"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"` // at most ListingLife after Issued

	trust   *Trust // by which it was verified
	signers []string
	roles   []*Role // of the signers
}

// SignListing signs with every key that whoever has it may list the channels of the org for [ListingLife] from now on,
// and returns the envelope.
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

// VerifyListing reads a signed listing and checks it as [Trust.VerifyManifest] checks a manifest. Any key of a role
// that may renew or publish something may sign one; [Listing.Shows] says what it may be told.
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
		// Whoever may publish may renew too, so a role that may not renew may do nothing that this version knows.
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

// Shows reports whether the signers may be told of the channel: a role of theirs holds it. The listing must be one that
// [Trust.VerifyListing] returned.
func (l *Listing) Shows(app, channel string) bool {
	for _, role := range l.roles {
		if role.Holds(app, channel) {
			return true
		}
	}
	return false
}

// MayRenew reports whether a renewal of the channel that has the same signers counts. The listing must be one that
// [Trust.VerifyListing] returned.
func (l *Listing) MayRenew(app, channel string) bool {
	return l.trust.authorise(l.signers, l.Org, app, channel, ActionRenew) == nil
}

// UnmarshalJSON reads a listing; it does not check the values.
func (l *Listing) UnmarshalJSON(raw []byte) error {
	type fields Listing
	var f fields
	_, err := decodeObject(raw, &f) // nothing is made from a listing, so what is unknown has nowhere to be lost
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
		return malformed("listing is good for %s, want at most %s", life, ListingLife)
	}
	return nil
}
