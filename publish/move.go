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

// served is the state of a channel on the node.
type served struct {
	manifest *channel.Manifest // serves nothing if the channel is new
	tag      string            // entity tag; empty if the channel is new
	lapsed   bool              // the manifest must not be trusted: its keys are no longer allowed
}

// fetchManifest fetches the signed manifest of a channel, nil if nothing has been published to it.
func (s *session) fetchManifest(ctx context.Context, app, name string) ([]byte, error) {
	if s.config.Origin != nil {
		return s.config.Origin.Manifest(ctx, app, name)
	}
	raw, err := s.fetch(ctx, protocol.ChannelPath(app, name), channel.MaxManifest)
	if protocol.CodeOf(err) == protocol.CodeUnknownChannel {
		return nil, nil
	}
	return raw, err
}

// channels returns the names of the channels of an app.
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
	raw, err := s.fetch(ctx, protocol.AppPath(app), maxList)
	if err := decode(raw, err, &answer); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(answer.Channels))
	for _, one := range answer.Channels {
		names = append(names, one.Channel)
	}
	return names, nil
}

// maxList limits the list of an app's channels, in bytes.
const maxList = 8 << 20

// manifest fetches and verifies the manifest of a channel. If it is refused, the error comes with the unverified
// manifest.
func (s *session) manifest(ctx context.Context, app, name string) (served, error) {
	raw, err := s.fetchManifest(ctx, app, name)
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
	// It is verified as of its own time, because an expired manifest may have a successor.
	m, err := s.trust.VerifyManifest(raw, unchecked.Issued)
	if err != nil {
		return served{manifest: unchecked, tag: protocol.Tag(unchecked.Digest())}, fmt.Errorf("channel %s: %w", name, err)
	}
	return served{manifest: m, tag: protocol.Tag(m.Digest())}, nil
}

// current fetches the channel of r. A channel whose manifest has lapsed is returned only for [Request.Restart].
func (s *session) current(ctx context.Context, r Request) (served, error) {
	now, err := s.manifest(ctx, r.App, r.Channel)
	if err := s.checkSequence(now); err != nil {
		return served{}, err
	}
	now.lapsed = channel.CodeOf(err) == channel.CodeUnknownKey || channel.CodeOf(err) == channel.CodeWrongRole ||
		channel.CodeOf(err) == channel.CodeNotEnoughSignatures || channel.CodeOf(err) == channel.CodeWrongChannel ||
		channel.CodeOf(err) == channel.CodeWrongEpoch
	switch {
	case now.lapsed && r.Restart:
		return now, s.checkLapsed(now)
	case now.lapsed:
		return served{}, fmt.Errorf("%w; %w", err, ErrLapsed)
	}
	return now, err
}

// checkLapsed returns an error if the sequence of a lapsed channel is needed and was not confirmed by
// Config.ExpectSequence, because the one that the node reports is not signed by a valid key. In a new epoch it is not
// needed.
func (s *session) checkLapsed(lapsed served) error {
	m := lapsed.manifest
	if s.config.ExpectSequence != nil || channel.EpochOf(m.Sequence) < s.trust.Epoch(m.App, m.Channel) {
		return nil
	}
	return fmt.Errorf("%w: the sequence of channel %s, %d, is not signed by a key that is allowed; if it is plausible, "+
		"expect it", ErrSequence, m.Channel, m.Sequence)
}

// checkSequence returns an error if the channel is not at Config.ExpectSequence.
func (s *session) checkSequence(current served) error {
	want := s.config.ExpectSequence
	if want == nil || current.manifest == nil || current.manifest.Sequence == *want {
		return nil
	}
	return fmt.Errorf("%w: channel %s is at %d, not %d", ErrSequence, current.manifest.Channel,
		current.manifest.Sequence, *want)
}

// next returns the manifest that serves the release and follows the current one; nil if the channel already serves the
// release with these attachments.
func (s *session) next(r Request, current served, release channel.Release) (next *channel.Manifest, err error) {
	now := s.config.Now()
	switch {
	case current.lapsed:
		next, err = current.manifest.Restart(s.trust, release, now)
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
	s.setExpiry(current, next)
	return next, nil
}

// attachTo returns the manifest that serves the release of m with other attachments.
func attachTo(m *channel.Manifest, attachments []channel.Attachment, now time.Time) (*channel.Manifest, error) {
	release := m.Release
	release.Attachments = attachments
	return m.Amend(release, now)
}

// sign signs next and verifies that the keys may sign it, before anything is uploaded. A nil next changes nothing and
// needs no signature.
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

// setExpiry sets when next, which follows current, expires.
func (s *session) setExpiry(current served, next *channel.Manifest) {
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

// move replaces current by a signed manifest.
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
		raw = current.manifest.Raw() // send the same again: the node answers which nodes have it
	}
	s.config.Progress(Event{Stage: Moving, Total: -1})
	if s.config.Origin != nil {
		return s.moveOrigin(ctx, raw)
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
	return s.config.checkReplicas(answer.Replicas)
}

// Promote makes one channel, to, serve the release of another, from. Errors are those of [Publisher.Publish].
func (p *Publisher) Promote(ctx context.Context, app, from, to string, dryRun bool) (Result, error) {
	return p.promote(ctx, app, from, to, dryRun, func(target, source *channel.Manifest) (*channel.Manifest, error) {
		next, err := target.Promote(source, p.config.Now())
		if errors.Is(err, channel.ErrUnchanged) && !sameAttachments(&target.Release, &source.Release) {
			return attachTo(target, source.Release.Attachments, p.config.Now())
		}
		return next, err
	})
}

// RollOut is Promote with a rollout, see [channel.Manifest.Roll]. It fills in rollout.From.
func (p *Publisher) RollOut(
	ctx context.Context, app, from, to string, rollout channel.Rollout, dryRun bool,
) (Result, error) {
	return p.promote(ctx, app, from, to, dryRun, func(target, source *channel.Manifest) (*channel.Manifest, error) {
		return target.Roll(source.Release, rollout, p.config.Now())
	})
}

func (p *Publisher) promote(
	ctx context.Context,
	app, from, to string,
	dryRun bool,
	edit func(target, source *channel.Manifest) (*channel.Manifest, error),
) (Result, error) {
	return p.change(ctx, app, to, dryRun, func(s *session, target *channel.Manifest) (*channel.Manifest, error) {
		source, err := s.manifest(ctx, app, from)
		if err != nil {
			return nil, err
		}
		if source.manifest.Sequence == 0 {
			return nil, fmt.Errorf("channel %s: %w", from, ErrUnpublished)
		}
		return edit(target, source.manifest)
	})
}

// RollBack makes the channel serve an earlier release again: the one with the version, or the previous one if version
// is empty. Devices that run a later release go back too. Errors are those of [Publisher.Publish].
func (p *Publisher) RollBack(ctx context.Context, app, name, version string, dryRun bool) (Result, error) {
	return p.change(ctx, app, name, dryRun, func(_ *session, target *channel.Manifest) (*channel.Manifest, error) {
		return target.RollBack(version, p.config.Now())
	})
}

// Changed is the result of a Change, or what it would be.
type Changed struct {
	Result

	Before *channel.Manifest // the manifest before the change
	After  *channel.Manifest // the manifest after the change; Before if it is unchanged
}

// Change replaces the manifest of a channel with the result of edit, which applies one or more operations of
// [channel.Manifest]. It returns [ErrUnpublished] for a channel that serves nothing yet; other errors are those of edit
// and of [Publisher.Publish].
func (p *Publisher) Change(
	ctx context.Context,
	app, name string,
	dryRun bool,
	edit func(*channel.Manifest) (*channel.Manifest, error),
) (Changed, error) {
	var c Changed
	var err error
	c.Result, err = p.change(ctx, app, name, dryRun, func(_ *session, m *channel.Manifest) (*channel.Manifest, error) {
		if m.Sequence == 0 {
			return nil, fmt.Errorf("channel %s: %w", name, ErrUnpublished)
		}
		next, err := edit(m)
		if c.Before, c.After = m, next; next == nil {
			c.After = m
		}
		return next, err
	})
	return c, err
}

// change replaces the manifest of a channel with the result of edit.
func (p *Publisher) change(
	ctx context.Context,
	app, name string,
	dryRun bool,
	edit func(*session, *channel.Manifest) (*channel.Manifest, error),
) (Result, error) {
	return p.run(Result{App: app, Channel: name, DryRun: dryRun}, func(s *session) error {
		if err := s.resolveTrust(ctx, app); err != nil {
			return err
		}
		current, err := s.manifest(ctx, app, name)
		if err != nil {
			return err
		}
		if err := s.checkSequence(current); err != nil {
			return err
		}
		next, err := edit(s, current.manifest)
		if err != nil && !errors.Is(err, channel.ErrUnchanged) {
			return err
		}
		serves := current.manifest
		if next != nil {
			serves = next
			next.Sequence = max(next.Sequence, s.trust.FirstSequence(app, name))
			s.setExpiry(current, next)
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

// Channel returns the manifest of a channel in force on the node, verified against the org's trust document.
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
