package publish

import (
	"context"
	"fmt"
	"time"

	"brink/channel"
)

// Renewed is the result of a Renew, or what it would be.
type Renewed struct {
	App      string    `json:"app"`
	Channel  string    `json:"channel"`
	Sequence uint64    `json:"sequence"`         // of the manifest, which does not change
	Renewal  uint64    `json:"renewal"`          // how often it was renewed, including this time
	Before   time.Time `json:"before,omitzero"`  // when it would have expired without this renewal; absent: never
	Expires  time.Time `json:"expires,omitzero"` // when it expires now
	Skipped  bool      `json:"skipped"`          // it never expires, or not soon
	DryRun   bool      `json:"dry_run"`
}

// Renew extends the validity of a channel's manifest to Config.Life from now (default: as long as it was valid), and
// changes nothing else. A key that may only renew is sufficient ([channel.ActionRenew]). A manifest that never expires,
// or not within the given time, is skipped. Errors are those of [Publisher.Publish], and [ErrUnpublished].
func (p *Publisher) Renew(
	ctx context.Context, app, name string, within time.Duration, dryRun bool,
) (renewed Renewed, err error) {
	_, err = p.run(Result{App: app, Channel: name, DryRun: dryRun}, func(s *session) error {
		if err := s.resolveTrust(ctx, app); err != nil {
			return err
		}
		current, err := s.manifest(ctx, app, name)
		if err != nil {
			return err
		}
		m, now := current.manifest, s.config.Now()
		if m.Sequence == 0 {
			return fmt.Errorf("channel %s: %w", name, ErrUnpublished)
		}
		if err := s.checkSequence(current); err != nil {
			return err
		}
		renewed = Renewed{
			App: app, Channel: name, Sequence: m.Sequence, Renewal: m.Renewal(), Before: m.Expires, Expires: m.Expires,
			DryRun: dryRun,
		}
		if m.Expires.IsZero() || m.Expires.Sub(now) >= within {
			renewed.Skipped = true
			return nil
		}
		life := s.config.Life
		if life <= 0 {
			life = m.Expires.Sub(m.Issued)
		}
		raw, err := channel.SignRenewal(m, now, now.Add(life), s.config.Keys...)
		if err != nil {
			return err
		}
		next, err := s.trust.VerifyManifest(raw, now)
		if err != nil {
			return err
		}
		renewed.Renewal, renewed.Expires = next.Renewal(), next.Expires
		return s.move(ctx, current, raw)
	})
	return renewed, err
}

// Channels returns the names of the channels of an app to which something was published, as listed by the node or the
// origin. The list is not verified.
func (p *Publisher) Channels(ctx context.Context, app string) (names []string, err error) {
	_, err = p.run(Result{}, func(s *session) error {
		names, err = s.channels(ctx, app)
		return err
	})
	return names, err
}
