package publish

import (
	"context"
	"fmt"

	"brink/channel"
)

// Push moves a channel to a manifest that keys on several machines have signed, see Config.HalfSigned. It needs no
// keys. The bundles of the manifest must have been uploaded. It returns [ErrConflict] if the channel has moved since
// the manifest was made; other errors are those of [Publisher.Publish].
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
		if err := s.checkSequence(current); err != nil {
			return err
		}
		if current.manifest.Statement() == m.Statement() {
			s.result.Unchanged = true
			return nil
		}
		if m.Previous != current.manifest.Published() {
			return fmt.Errorf("%w: the manifest does not follow sequence %d of channel %s", ErrConflict,
				current.manifest.Sequence, m.Channel)
		}
		return s.move(ctx, current, manifest)
	})
}
