package bucket

import (
	"context"
	"errors"

	"brink/channel"
)

// Trust returns the trust document of an org, unchecked, or [ErrNotFound].
func (b *Bucket) Trust(ctx context.Context, org string) ([]byte, error) {
	if err := channel.CheckOrg(org); err != nil {
		return nil, err
	}
	raw, _, err := b.read(ctx, trustKey(org), "", channel.MaxTrust)
	return raw, err
}

// TrustVersion returns one version of the trust document of an org, unchecked, or [ErrNotFound].
func (b *Bucket) TrustVersion(ctx context.Context, org string, version uint64) ([]byte, error) {
	if err := channel.CheckOrg(org); err != nil {
		return nil, err
	}
	raw, _, err := b.read(ctx, trustVersionKey(org, version), "", channel.MaxTrust)
	return raw, err
}

// PutTrust puts the trust document of an org in the place of the one that is there, if it follows from that one by its
// roots, over the versions that are kept here ([channel.Trust.Advance], whose errors it returns). Every version is kept
// under a key of its own as well. Doing it again is no error.
func (b *Bucket) PutTrust(ctx context.Context, raw []byte) error {
	next, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	key := trustKey(next.Org())
	if b.ReadOnly() {
		return &Error{Op: "put", Key: key, Kind: ErrReadOnly}
	}
	same := false
	err = b.update(ctx, key, channel.MaxTrust, func(current []byte) ([]byte, error) {
		if now, err := channel.LoadTrust(current); current != nil && err == nil { // what nobody can read serves nobody
			if next.Version() < now.Version() {
				_, err := now.Succeed(raw) // says why not
				return nil, err
			}
			accepted, err := now.Advance(raw, func(version uint64) ([]byte, error) {
				raw, err := b.TrustVersion(ctx, next.Org(), version)
				if errors.Is(err, ErrNotFound) {
					return nil, nil
				}
				return raw, err
			})
			if err != nil {
				return nil, err
			}
			if same = accepted == now; same {
				return nil, errSame
			}
		}
		// Before the document is in force: whoever finds it there finds its version too.
		return raw, b.PutTrustVersion(ctx, raw)
	})
	if err != nil || same {
		return err
	}
	return b.enter(ctx, Catalog{Orgs: []string{next.Org()}})
}

// PutTrustVersion keeps one version of a trust document under a key of its own, unless something is there: what that is
// worth is for those who read it to check.
func (b *Bucket) PutTrustVersion(ctx context.Context, raw []byte) error {
	t, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	key := trustVersionKey(t.Org(), t.Version())
	if b.ReadOnly() {
		return &Error{Op: "put", Key: key, Kind: ErrReadOnly}
	}
	if err := b.put(ctx, key, raw, condition{absent: true}); err != nil && !errors.Is(err, errExists) {
		return err
	}
	return nil
}
