package force

import (
	"context"
	"errors"
	"fmt"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// RestoreTrust compares the configured trust documents with the stored ones, which were in force before. It refuses one
// that the former roots did not sign. If a stored one is newer, because a successor was received, that is in force.
func (d *Door) RestoreTrust(ctx context.Context) error {
	for _, trust := range d.State.Trusts() {
		if err := d.restoreTrust(ctx, trust); err != nil {
			return fmt.Errorf("trust document of %s: %w", trust.Org(), err)
		}
	}
	return nil
}

func (d *Door) restoreTrust(ctx context.Context, trust *channel.Trust) error {
	raw, err := d.Store.Trust(trust.Org())
	if errors.Is(err, store.ErrNotFound) {
		return d.saveTrust(ctx, trust, digest.Digest{}, nil)
	}
	if err != nil {
		return err
	}
	former, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	if trust.Version() < former.Version() {
		// Each stored version was signed by the roots of its predecessor, back to a configured document.
		if _, err := trust.Advance(former.Raw(), d.StoredVersions(trust.Org())); err != nil {
			return fmt.Errorf("version %d is in force here, and does not follow from version %d, which was given: %w",
				former.Version(), trust.Version(), err)
		}
		d.Logger.Warn("trust document ignored: it is older than the one in force", "org", trust.Org(),
			"given", trust.Version(), "in_force", former.Version())
		d.State.setTrust(former)
		return nil
	}
	accepted, err := former.Advance(trust.Raw(), d.StoredVersions(trust.Org()))
	if err != nil || accepted == former {
		return err
	}
	return d.saveTrust(ctx, accepted, former.Digest(), nil)
}

// saveTrust makes a trust document durable as the one in force. Before, it makes it and the versions between durable
// under their versions, so that a node that has the document in force always has its predecessors.
func (d *Door) saveTrust(
	ctx context.Context, trust *channel.Trust, former digest.Digest, between []*channel.Trust,
) error {
	for _, one := range append(between, trust) {
		err := d.Store.PutTrustVersion(ctx, one.Org(), one.Version(), one.Raw())
		if err != nil && !errors.Is(err, store.ErrConflict) { // on conflict, the document that was stored first stays
			return err
		}
	}
	return d.Store.PutTrust(ctx, trust.Org(), trust.Raw(), former)
}

// Versions finds one version of an org's trust document, as signed. It returns nil if there is none.
type Versions func(version uint64) ([]byte, error)

// StoredVersions returns the Versions that are in the store.
func (d *Door) StoredVersions(org string) Versions {
	return func(version uint64) ([]byte, error) {
		raw, err := d.Store.TrustVersion(org, version)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return raw, err
	}
}

// ApplyTrust brings the successor of a trust document into force, from any source. It gets the versions between the two
// from fetch, if that is not nil. When it returns nil, channels that the document no longer allows have lapsed, and
// channels that it allows again are in force.
func (d *Door) ApplyTrust(ctx context.Context, org string, raw []byte, fetch Versions) error {
	d.trustLock.Lock()
	defer d.trustLock.Unlock()
	former := d.State.Trust(org)
	if former == nil {
		return serve.Problem(protocol.CodeUnknownOrg, fmt.Sprintf("the node was not given a trust document of org %q", org),
			"start it with --trust")
	}
	var between []*channel.Trust
	trust, err := former.Advance(raw, func(version uint64) ([]byte, error) {
		if fetch == nil {
			return nil, nil
		}
		raw, err := fetch(version)
		if err != nil || raw == nil {
			return nil, err
		}
		one, err := channel.LoadTrust(raw)
		if err == nil {
			between = append(between, one)
		}
		return raw, err
	})
	if err != nil {
		return err
	}
	if trust == former {
		// Not newer. The sender gets an error if its document is older, or a different one of the same version.
		_, err := former.Succeed(raw)
		return err
	}
	if err := d.saveTrust(ctx, trust, former.Digest(), between); err != nil {
		return err
	}
	d.State.setTrust(trust)
	d.Logger.Info("trust document replaced", "org", org, "version", trust.Version())
	if d.Announcer != nil {
		d.Announcer.AnnounceTrust(trust)
	}
	return d.Reapply(ctx, org)
}

// FetchVersions fetches and stores the earlier versions of an org's trust document that the store lacks, newest first.
// Each must be a valid predecessor of the next.
func (d *Door) FetchVersions(ctx context.Context, org string, fetch Versions) error {
	next := d.State.Trust(org)
	if next == nil {
		return nil
	}
	stored := d.StoredVersions(org)
	lowest := max(1, int64(next.Version())-channel.MaxAdvance)
	for version := int64(next.Version()) - 1; version >= lowest; version-- {
		raw, err := stored(uint64(version))
		if err == nil && raw == nil {
			raw, err = fetch(uint64(version))
		}
		if err != nil {
			return err
		}
		if raw == nil {
			continue
		}
		one, err := channel.LoadTrust(raw)
		if err != nil {
			return err
		}
		if one.Version() != uint64(version) || one.Org() != org {
			return fmt.Errorf("got version %d of the trust document of %s instead of version %d",
				one.Version(), one.Org(), version)
		}
		if _, err := one.Succeed(next.Raw()); err != nil {
			return fmt.Errorf("version %d of the trust document of %s: %w", version, org, err)
		}
		if err := d.Store.PutTrustVersion(ctx, org, one.Version(), raw); err != nil {
			return err
		}
		next = one
	}
	return nil
}
