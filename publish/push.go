package publish

import (
	"context"
	"fmt"

	"brink/channel"
)

// Push moves a channel to a manifest that was signed before, by keys on several machines: see Config.HalfSigned. Its
// bundles have to be where it goes. It has to follow what the channel serves now: if the channel has moved since the
// manifest was made, that is [ErrConflict]. Otherwise errors are those of [Publisher.Publish]. It needs no keys.
func (p *Publisher) Push(ctx context.Context, manifest []byte, dryRun bool) (Result, error) {
	m, err := channel.ParseManifest(manifest)
	if err != nil {
		return Result{}, err
	}
	return p.run(Result{
		App: m.App, Channel: m.Channel, Version: m.Release.Version, Bundle: m.Release.Bundle, Files: m.Release.Files,
		Bytes: m.Release.Size, Sequence: m.Sequence, Rollout: m.Rollout, BuiltIn: m.BuiltIn, Serves: Serves(m),
		DryRun: dryRun,
	}, func(s *session) error {
		if err := s.resolveTrust(ctx, m.App); err != nil {
			return err
		}
		if !m.Expires.IsZero() {
			s.result.Expires = &m.Expires
		}
		if _, err := s.trust.VerifyManifest(manifest, s.config.Now()); err != nil {
			return err
		}
		current, err := s.manifest(ctx, m.App, m.Channel)
		if err != nil {
			return err
		}
		if err := s.expected(current); err != nil {
			return err
		}
		if current.manifest.Statement() == m.Statement() {
			s.result.Unchanged = true
			return nil
		}
		if m.Previous != current.manifest.Published() {
			return fmt.Errorf("%w: channel %s is at sequence %d, which the manifest does not follow", ErrConflict, m.Channel,
				current.manifest.Sequence)
		}
		return s.move(ctx, current, manifest)
	})
}
