package publish

import (
	"bytes"
	"context"
	"fmt"

	"brink/channel"
	"brink/protocol"
)

// resolveTrust is advanceTrust for what is done with an app, which the trust document has to hold.
func (s *session) resolveTrust(ctx context.Context, app string) error {
	if err := s.advanceTrust(ctx); err != nil {
		return fmt.Errorf("app %s: %w", app, err)
	}
	if !s.trust.Apps(app) {
		return &channel.RefusedError{
			Code: channel.CodeWrongApp, Reason: fmt.Sprintf("no role of org %s holds the app %s", s.trust.Org(), app),
			Hint: "give the trust document of the org that the app belongs to",
		}
	}
	return nil
}

// advanceTrust settles by which trust document everything that the other side says is checked: the publisher's own, or
// a successor of it that the other side has. Nothing else that comes from there counts, so a node or a bucket in a
// thief's hands has nothing signed that the org's keys did not sign before.
func (s *session) advanceTrust(ctx context.Context) error {
	trust := s.Publisher.trust
	newest, err := s.newestTrust(ctx, trust)
	if err != nil {
		return err
	}
	if newest != nil {
		next, err := trust.Advance(newest, func(version uint64) ([]byte, error) {
			return s.trustVersion(ctx, trust.Org(), version)
		})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrForeignTrust, err)
		}
		if next != trust && s.config.Advanced != nil {
			s.config.Advanced(next)
		}
		trust = next
	}
	if err := trust.CheckExpiry(s.config.Now()); err != nil {
		return err
	}
	s.trust, s.shared = trust, bytes.Equal(newest, trust.Raw())
	return nil
}

// newestTrust returns the trust document that the other side has, nil if it has none.
func (s *session) newestTrust(ctx context.Context, own *channel.Trust) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.Trust(ctx, own.Org())
	}
	raw, err := s.get(ctx, protocol.TrustPath(own.Org()), channel.MaxTrust)
	if protocol.CodeOf(err) == protocol.CodeUnknownOrg {
		return nil, nil // what it says of the app is checked all the same
	}
	if err != nil {
		return nil, fmt.Errorf("trust document of %s: %w", own.Org(), err)
	}
	return raw, nil
}

// trustVersion returns one version of the trust document, nil if the other side does not have it.
func (s *session) trustVersion(ctx context.Context, org string, version uint64) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.TrustVersion(ctx, org, version)
	}
	raw, err := s.get(ctx, protocol.TrustVersionPath(org, version), channel.MaxTrust)
	switch protocol.CodeOf(err) {
	case protocol.CodeUnknownOrg, protocol.CodeNotFound:
		return nil, nil
	}
	return raw, err
}

// putTrust writes the trust document to an origin, unless it has it: nodes that read from there learn of successors
// there.
func (s *session) putTrust(ctx context.Context) error {
	if s.config.Origin == nil || s.result.DryRun || s.shared {
		return nil
	}
	if err := s.config.Origin.PutTrust(ctx, s.trust.Raw()); err != nil {
		return fmt.Errorf("trust document: %w", err)
	}
	s.shared = true
	return nil
}
