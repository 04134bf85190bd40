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

// Adopt compares the trust documents that were given with those that were in force before. One that the former roots
// did not sign is refused. One that is older gives way: others may have sent its successor meanwhile.
func (d *Door) Adopt(ctx context.Context) error {
	for _, trust := range d.State.Trusts() {
		if err := d.adopt(ctx, trust); err != nil {
			return fmt.Errorf("trust document of %s: %w", trust.Org(), err)
		}
	}
	return nil
}

func (d *Door) adopt(ctx context.Context, trust *channel.Trust) error {
	raw, err := d.Store.Trust(trust.Org())
	if errors.Is(err, store.ErrNotFound) {
		return d.keepTrust(ctx, trust, digest.Digest{}, nil)
	}
	if err != nil {
		return err
	}
	former, err := channel.LoadTrust(raw)
	if err != nil {
		return err
	}
	if trust.Version() < former.Version() {
		// What is in the store was signed by the roots of what came before it, back to a document that was given.
		if _, err := trust.Advance(former.Raw(), d.StoredVersion(trust.Org())); err != nil {
			return fmt.Errorf("version %d is in force here, and does not follow from version %d, which was given: %w",
				former.Version(), trust.Version(), err)
		}
		d.Logger.Warn("trust document is older than the one in force, which stays", "org", trust.Org(),
			"given", trust.Version(), "in_force", former.Version())
		d.State.setTrust(former)
		return nil
	}
	accepted, err := former.Advance(trust.Raw(), d.StoredVersion(trust.Org()))
	if err != nil || accepted == former {
		return err
	}
	return d.keepTrust(ctx, accepted, former.Digest(), nil)
}

// keepTrust makes a trust document durable as the one in force, after it and those that led to it as versions of their
// own: whoever finds the one in force here finds them as well.
func (d *Door) keepTrust(
	ctx context.Context, trust *channel.Trust, former digest.Digest, between []*channel.Trust,
) error {
	for _, one := range append(between, trust) {
		err := d.Store.PutTrustVersion(ctx, one.Org(), one.Version(), one.Raw())
		if err != nil && !errors.Is(err, store.ErrConflict) { // another of that version was kept first, and stays
			return err
		}
	}
	return d.Store.PutTrust(ctx, trust.Org(), trust.Raw(), former)
}

// Versions returns one version of an org's trust document as signed, or nil if it is not there.
type Versions func(version uint64) ([]byte, error)

// StoredVersion returns what reads the versions that are kept here.
func (d *Door) StoredVersion(org string) Versions {
	return func(version uint64) ([]byte, error) {
		raw, err := d.Store.TrustVersion(org, version)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		return raw, err
	}
}

// Succeed takes the successor of a trust document that is in force, wherever it came from. The versions between the two
// are asked of fetch, if it is not nil. What the document no longer allows is out of force when this returns, and what
// it allows again is in force.
func (d *Door) Succeed(ctx context.Context, org string, raw []byte, fetch Versions) error {
	d.succession.Lock()
	defer d.succession.Unlock()
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
		// Nothing newer: an error tells a sender that what he sent is older, or another of the same version.
		_, err := former.Succeed(raw)
		return err
	}
	if err := d.keepTrust(ctx, trust, former.Digest(), between); err != nil {
		return err
	}
	d.State.setTrust(trust)
	d.Logger.Info("trust document replaced", "org", org, "version", trust.Version())
	if d.Announcer != nil {
		d.Announcer.AnnounceTrust(trust)
	}
	return d.Review(ctx, org)
}

// Complete brings in the versions of an org's trust document that are not kept here yet, newest first. Each must
// be one from which the next follows.
func (d *Door) Complete(ctx context.Context, org string, fetch Versions) error {
	next := d.State.Trust(org)
	if next == nil {
		return nil
	}
	stored := d.StoredVersion(org)
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
			return fmt.Errorf("version %d of the trust document of %s was sent for version %d",
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
