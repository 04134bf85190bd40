package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"brink/channel"
	"brink/protocol"
)

// served is a channel as the node has it.
type served struct {
	manifest *channel.Manifest // serves nothing when the channel is new
	tag      string            // entity tag; empty when the channel is new
	lapsed   bool              // nobody must believe the manifest: its keys are not allowed any more
}

// signed fetches the manifest of a channel, nil when nothing was published to it.
func (s *session) signed(ctx context.Context, app, name string) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.Manifest(ctx, app, name)
	}
	raw, err := s.get(ctx, protocol.ChannelPath(app, name), channel.MaxManifest)
	if protocol.CodeOf(err) == protocol.CodeUnknownChannel {
		return nil, nil
	}
	return raw, err
}

// channels fetches the names of the channels of an app.
func (s *session) channels(ctx context.Context, app string) ([]string, error) {
	if s.config.Origin != nil {
		all, err := s.config.Origin.Channels(ctx)
		var names []string
		for _, at := range all {
			if at.App == app {
				names = append(names, at.Channel)
			}
		}
		return names, err
	}
	var answer protocol.App
	raw, err := s.get(ctx, protocol.AppPath(app), maxList)
	if err := decode(raw, err, &answer); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(answer.Channels))
	for _, one := range answer.Channels {
		names = append(names, one.Channel)
	}
	return names, nil
}

// maxList bounds, in bytes, the list of an app's channels.
const maxList = 8 << 20

// manifest fetches a channel, checked. When it is refused the error comes with what is there, which nobody must
// believe.
func (s *session) manifest(ctx context.Context, app, name string) (served, error) {
	raw, err := s.signed(ctx, app, name)
	if err != nil {
		return served{}, fmt.Errorf("channel %s: %w", name, err)
	}
	if raw == nil {
		return served{manifest: channel.NewManifest(s.trust.Org(), app, name)}, nil
	}
	unchecked, err := channel.ParseManifest(raw)
	if err != nil {
		return served{}, fmt.Errorf("channel %s: %w", name, err)
	}
	if err := unchecked.CheckFor(app, name); err != nil {
		return served{}, fmt.Errorf("channel %s: %w", name, err)
	}
	// It is checked as of its own time: one that has expired is no reason not to publish its successor.
	m, err := s.trust.VerifyManifest(raw, unchecked.Issued)
	if err != nil {
		return served{manifest: unchecked, tag: protocol.Tag(unchecked.Digest())}, fmt.Errorf("channel %s: %w", name, err)
	}
	return served{manifest: m, tag: protocol.Tag(m.Digest())}, nil
}

// current fetches the channel that r is for. One whose manifest lapsed is returned as well, for [Request.Anew] only.
func (s *session) current(ctx context.Context, r Request) (served, error) {
	now, err := s.manifest(ctx, r.App, r.Channel)
	if err := s.expected(now); err != nil {
		return served{}, err
	}
	now.lapsed = channel.CodeOf(err) == channel.CodeUnknownKey || channel.CodeOf(err) == channel.CodeWrongRole ||
		channel.CodeOf(err) == channel.CodeNotEnoughSignatures || channel.CodeOf(err) == channel.CodeWrongChannel ||
		channel.CodeOf(err) == channel.CodeWrongEpoch
	switch {
	case now.lapsed && r.Anew:
		return now, s.confirmed(now)
	case now.lapsed:
		return served{}, fmt.Errorf("%w; %w", err, ErrLapsed)
	}
	return now, err
}

// confirmed returns nil if somebody said from which sequence a lapsed channel goes on: nothing vouches for the one that
// the other side tells. In a new epoch that one makes no difference.
func (s *session) confirmed(lapsed served) error {
	m := lapsed.manifest
	if s.config.ExpectSequence != nil || channel.EpochOf(m.Sequence) < s.trust.Epoch(m.App, m.Channel) {
		return nil
	}
	return fmt.Errorf("%w: no key of yours vouches for the sequence that channel %s is said to be at, %d; if that can "+
		"be, expect it", ErrSequence, m.Channel, m.Sequence)
}

// expected returns nil if the channel is at Config.ExpectSequence.
func (s *session) expected(current served) error {
	want := s.config.ExpectSequence
	if want == nil || current.manifest == nil || current.manifest.Sequence == *want {
		return nil
	}
	return fmt.Errorf("%w: channel %s is at %d, not %d", ErrSequence, current.manifest.Channel,
		current.manifest.Sequence, *want)
}

// next returns the manifest that serves the release on top of the current one; nil when the channel serves it already,
// with these attachments.
func (s *session) next(r Request, current served, release channel.Release) (next *channel.Manifest, err error) {
	now := s.config.Now()
	switch {
	case current.lapsed:
		next, err = current.manifest.Anew(s.trust, release, now)
	case r.Rollout != nil:
		next, err = current.manifest.Roll(release, *r.Rollout, now)
	default:
		next, err = current.manifest.Publish(release, now)
	}
	if errors.Is(err, channel.ErrUnchanged) {
		if sameAttachments(&current.manifest.Release, &release) {
			return nil, nil
		}
		next, err = attachTo(current.manifest, release.Attachments, now)
	}
	if err != nil {
		return nil, err
	}
	next.Sequence = max(next.Sequence, r.Above+1, s.trust.FirstSequence(r.App, r.Channel))
	s.limit(current, next)
	return next, nil
}

// attachTo returns the manifest that serves what m serves, with other attachments.
func attachTo(m *channel.Manifest, attachments []channel.Attachment, now time.Time) (*channel.Manifest, error) {
	release := m.Release
	release.Attachments = attachments
	return m.Amend(release, now)
}

// sign returns the manifest that next is, signed and checked: what the keys may not say should not cost an upload. A
// nil next changes nothing and needs no signature.
func (s *session) sign(current served, next *channel.Manifest) ([]byte, error) {
	if next == nil {
		s.result.Sequence, s.result.Unchanged = current.manifest.Sequence, true
		s.result.Rollout, s.result.BuiltIn = current.manifest.Rollout, current.manifest.BuiltIn
		return nil, nil
	}
	s.result.Sequence = next.Sequence
	s.result.Rollout, s.result.BuiltIn = next.Rollout, next.BuiltIn
	s.result.Serves = Serves(next)
	if !next.Expires.IsZero() {
		s.result.Expires = &next.Expires
	}
	raw, err := channel.SignManifest(next, s.config.Keys...)
	if err != nil {
		return nil, err
	}
	_, err = s.trust.VerifyManifest(raw, s.config.Now())
	if s.config.HalfSigned != nil && channel.CodeOf(err) == channel.CodeNotEnoughSignatures {
		s.result.HalfSigned = true
		return raw, nil
	}
	return raw, err
}

// limit sets when a manifest that follows current expires.
func (s *session) limit(current served, next *channel.Manifest) {
	life := s.config.Life
	if life == 0 && (current.manifest.Sequence == 0 || current.lapsed) {
		life = DefaultLife
		if next.Org == channel.DevelopmentOrg {
			life = Forever
		}
	}
	switch {
	case life == Forever:
		next.Expires = time.Time{}
	case life > 0:
		next.Expires = next.Issued.Add(life)
	}
}

// move puts a signed manifest in the place of current.
func (s *session) move(ctx context.Context, current served, raw []byte) error {
	if s.result.DryRun {
		return nil
	}
	if s.result.HalfSigned {
		return s.config.HalfSigned(raw)
	}
	if raw == nil {
		if !s.config.replicated() || current.manifest.Raw() == nil {
			return nil
		}
		raw = current.manifest.Raw() // the same once more: the node answers who holds it
	}
	s.config.Progress(Event{Stage: Moving, Total: -1})
	if s.config.Origin != nil {
		return s.moveAt(ctx, raw)
	}
	req, err := s.request(ctx, http.MethodPut, protocol.ChannelPath(s.result.App, s.result.Channel), raw)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if current.tag == "" {
		req.Header.Set("If-None-Match", "*")
	} else {
		req.Header.Set("If-Match", current.tag)
	}
	if s.config.replicated() {
		req.Header.Set(protocol.FieldReplicas, strconv.Itoa(max(1, s.config.Replicas)))
		req.Header.Set(protocol.FieldRegions, strconv.Itoa(max(1, s.config.Regions)))
	}
	var answer protocol.Moved
	body, err := s.do(req, maxAnswer)
	if protocol.CodeOf(err) == protocol.CodeConflict {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	if err := decode(body, err, &answer); err != nil {
		return err
	}
	s.result.Replicas = answer.Replicas
	return s.config.enough(answer.Replicas)
}

// Promote lets the channel to serve the release that the channel from serves. Errors are those of [Publisher.Publish].
func (p *Publisher) Promote(ctx context.Context, app, from, to string, dryRun bool) (Result, error) {
	return p.promote(ctx, app, from, to, dryRun, func(target, source *channel.Manifest) (*channel.Manifest, error) {
		next, err := target.Promote(source, p.config.Now())
		if errors.Is(err, channel.ErrUnchanged) && !sameAttachments(&target.Release, &source.Release) {
			return attachTo(target, source.Release.Attachments, p.config.Now())
		}
		return next, err
	})
}

// RollOut is Promote to some devices first, see [channel.Manifest.Roll]; some.From is filled in.
func (p *Publisher) RollOut(
	ctx context.Context, app, from, to string, some channel.Rollout, dryRun bool,
) (Result, error) {
	return p.promote(ctx, app, from, to, dryRun, func(target, source *channel.Manifest) (*channel.Manifest, error) {
		return target.Roll(source.Release, some, p.config.Now())
	})
}

func (p *Publisher) promote(
	ctx context.Context,
	app, from, to string,
	dryRun bool,
	turn func(target, source *channel.Manifest) (*channel.Manifest, error),
) (Result, error) {
	return p.change(ctx, app, to, dryRun, func(s *session, target *channel.Manifest) (*channel.Manifest, error) {
		source, err := s.manifest(ctx, app, from)
		if err != nil {
			return nil, err
		}
		if source.manifest.Sequence == 0 {
			return nil, fmt.Errorf("channel %s: %w", from, ErrUnpublished)
		}
		return turn(target, source.manifest)
	})
}

// RollBack lets the channel serve an earlier release again: the one of the version given, or the one before when
// version is empty. Devices that run the release it leaves go back too. Errors are those of [Publisher.Publish].
func (p *Publisher) RollBack(ctx context.Context, app, name, version string, dryRun bool) (Result, error) {
	return p.change(ctx, app, name, dryRun, func(_ *session, target *channel.Manifest) (*channel.Manifest, error) {
		return target.RollBack(version, p.config.Now())
	})
}

// Changed is what a Change did, or would have done.
type Changed struct {
	Result

	Before *channel.Manifest // as it was in force
	After  *channel.Manifest // as it is in force now, or would be; Before when that is unchanged
}

// Change moves a channel, to which something was published before, to what turn makes of its manifest: any of the
// operations of [channel.Manifest], or several. It returns [ErrUnpublished] for a channel that serves nothing yet;
// otherwise errors are those of turn and of [Publisher.Publish].
func (p *Publisher) Change(
	ctx context.Context,
	app, name string,
	dryRun bool,
	turn func(*channel.Manifest) (*channel.Manifest, error),
) (Changed, error) {
	var c Changed
	var err error
	c.Result, err = p.change(ctx, app, name, dryRun, func(_ *session, m *channel.Manifest) (*channel.Manifest, error) {
		if m.Sequence == 0 {
			return nil, fmt.Errorf("channel %s: %w", name, ErrUnpublished)
		}
		next, err := turn(m)
		if c.Before, c.After = m, next; next == nil {
			c.After = m
		}
		return next, err
	})
	return c, err
}

// change moves a channel to what turn makes of it.
func (p *Publisher) change(
	ctx context.Context,
	app, name string,
	dryRun bool,
	turn func(*session, *channel.Manifest) (*channel.Manifest, error),
) (Result, error) {
	return p.run(Result{App: app, Channel: name, DryRun: dryRun}, func(s *session) error {
		if err := s.resolveTrust(ctx, app); err != nil {
			return err
		}
		current, err := s.manifest(ctx, app, name)
		if err != nil {
			return err
		}
		if err := s.expected(current); err != nil {
			return err
		}
		next, err := turn(s, current.manifest)
		if err != nil && !errors.Is(err, channel.ErrUnchanged) {
			return err
		}
		serves := current.manifest
		if next != nil {
			serves = next
			next.Sequence = max(next.Sequence, s.trust.FirstSequence(app, name))
			s.limit(current, next)
		}
		s.result.Version, s.result.Bundle = serves.Release.Version, serves.Release.Bundle
		s.result.Files, s.result.Bytes = serves.Release.Files, serves.Release.Size
		raw, err := s.sign(current, next)
		if err != nil {
			return err
		}
		return s.move(ctx, current, raw)
	})
}

// Channel returns the manifest of a channel that is in force on the node, checked against the org's trust document.
func (p *Publisher) Channel(ctx context.Context, app, name string) (*channel.Manifest, error) {
	var current served
	_, err := p.run(Result{}, func(s *session) error {
		if err := s.resolveTrust(ctx, app); err != nil {
			return err
		}
		var err error
		current, err = s.manifest(ctx, app, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	if current.manifest.Sequence == 0 {
		return nil, fmt.Errorf("channel %s: %w", name, ErrUnpublished)
	}
	return current.manifest, nil
}
