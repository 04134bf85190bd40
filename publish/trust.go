package publish

import (
	"bytes"
	"context"
	"fmt"

	"brink/channel"
	"brink/protocol"
)

// resolveTrust is advanceTrust for work on an app, which a role of the trust document must include.
func (s *session) resolveTrust(ctx context.Context, app string) error {
	if err := s.advanceTrust(ctx); err != nil {
		return fmt.Errorf("app %s: %w", app, err)
	}
	if !s.trust.HasApp(app) {
		return &channel.RefusedError{
			Code: channel.CodeWrongApp, Reason: fmt.Sprintf("no role of org %s includes the app %s", s.trust.Org(), app),
			Hint: "use the trust document of the org to which the app belongs",
		}
	}
	return nil
}

// advanceTrust sets the trust document against which all data from the node or origin is verified: the configured one,
// or a successor that the node or origin has. Nothing else from there is trusted, so a compromised node or bucket
// cannot make the publisher sign anything that the org's keys have not signed before.
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

// newestTrust fetches the trust document of the node or origin, nil if it has none.
func (s *session) newestTrust(ctx context.Context, own *channel.Trust) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.Trust(ctx, own.Org())
	}
	raw, err := s.fetch(ctx, protocol.TrustPath(own.Org()), channel.MaxTrust)
	if protocol.CodeOf(err) == protocol.CodeUnknownOrg {
		return nil, nil // the configured document is used
	}
	if err != nil {
		return nil, fmt.Errorf("trust document of %s: %w", own.Org(), err)
	}
	return raw, nil
}

// trustVersion fetches one version of the trust document, nil if the node or origin does not have it.
func (s *session) trustVersion(ctx context.Context, org string, version uint64) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.TrustVersion(ctx, org, version)
	}
	raw, err := s.fetch(ctx, protocol.TrustVersionPath(org, version), channel.MaxTrust)
	switch protocol.CodeOf(err) {
	case protocol.CodeUnknownOrg, protocol.CodeNotFound:
		return nil, nil
	}
	return raw, err
}

// putTrust writes the trust document to an origin, unless it has it: nodes fetch new versions from there.
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
