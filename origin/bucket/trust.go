package bucket

import (
	"context"
	"errors"

	"brink/channel"
)

// Trust returns the trust document of an org, unverified, or [ErrNotFound].
func (b *Bucket) Trust(ctx context.Context, org string) ([]byte, error) {
	if err := channel.CheckOrg(org); err != nil {
		return nil, err
	}
	raw, _, err := b.read(ctx, trustKey(org), "", channel.MaxTrust)
	return raw, err
}

// TrustVersion returns one version of the trust document of an org, unverified, or [ErrNotFound].
func (b *Bucket) TrustVersion(ctx context.Context, org string, version uint64) ([]byte, error) {
	if err := channel.CheckOrg(org); err != nil {
		return nil, err
	}
	raw, _, err := b.read(ctx, trustVersionKey(org, version), "", channel.MaxTrust)
	return raw, err
}

// PutTrust replaces the trust document of an org, if the present one accepts it as a successor, also through the
// versions in between, which are in the bucket ([channel.Trust.Advance], whose errors it returns). It stores the
// version under a separate key too. It is idempotent.
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
		if now, err := channel.LoadTrust(current); current != nil && err == nil { // else it is useless
			if next.Version() < now.Version() {
				_, err := now.Succeed(raw) // returns the reason
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
		// First, so that readers of the document in force find its version too.
		return raw, b.PutTrustVersion(ctx, raw)
	})
	if err != nil || same {
		return err
	}
	return b.addToCatalog(ctx, Catalog{Orgs: []string{next.Org()}})
}

// PutTrustVersion stores one version of a trust document under a separate key, unless that exists. Readers must verify
// it.
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
