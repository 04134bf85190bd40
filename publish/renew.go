package publish

import (
	"context"
	"fmt"
	"time"

	"brink/channel"
)

// Renewed is what a Renew did to one channel, or would have done.
type Renewed struct {
	App      string    `json:"app"`
	Channel  string    `json:"channel"`
	Sequence uint64    `json:"sequence"`         // of the manifest, which stays
	Renewal  uint64    `json:"renewal"`          // how often it was renewed by now
	Before   time.Time `json:"before,omitzero"`  // when it ended before this renewal; absent: never
	Expires  time.Time `json:"expires,omitzero"` // when it ends now
	Skipped  bool      `json:"skipped"`          // it never expires, or has time left
	DryRun   bool      `json:"dry_run"`
}

// Renew lets the manifest of a channel be good for longer, from now on for Config.Life (default: as long as it was),
// and changes nothing else; a key suffices that may do nothing else ([channel.ActionRenew]). One that never expires, or
// has within or more left, stays as it is. Errors are those of [Publisher.Publish], and [ErrUnpublished].
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
		if err := s.expected(current); err != nil {
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

// Channels returns the names of the channels of an app to which something was published, as the node or the origin
// lists them. Nothing is signed on their word.
func (p *Publisher) Channels(ctx context.Context, app string) (names []string, err error) {
	_, err = p.run(Result{}, func(s *session) error {
		names, err = s.channels(ctx, app)
		return err
	})
	return names, err
}
