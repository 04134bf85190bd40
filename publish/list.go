package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"brink/channel"
	"brink/protocol"
)

// Place names a channel of an app.
type Place struct{ App, Channel string }

// maxPlaces limits the channels of one org, so that an endless list is an error.
const maxPlaces = 100_000

// Renewable returns the channels of the trust document's org that the node or the origin lists and that the keys may
// renew, sorted by app and channel. The list is not trusted: channels that it omits are not renewed, and channels that
// do not exist are refused by [Publisher.Renew].
func (p *Publisher) Renewable(ctx context.Context) (places []Place, err error) {
	_, err = p.run(Result{}, func(s *session) error {
		if err := s.advanceTrust(ctx); err != nil {
			return err
		}
		raw, listing, err := s.signListing()
		if err != nil {
			return err
		}
		if s.config.Origin != nil {
			places, err = s.listOrigin(ctx, listing)
			return err
		}
		places, err = s.listNode(ctx, raw, listing)
		return err
	})
	return places, err
}

// signListing returns a listing in signed and in decoded form.
func (s *session) signListing() ([]byte, *channel.Listing, error) {
	now := s.config.Now()
	raw, err := channel.SignListing(s.trust.Org(), now, s.config.Keys...)
	if err != nil {
		return nil, nil, err
	}
	listing, err := s.trust.VerifyListing(raw, now)
	return raw, listing, err
}

// listNode fetches all pages of the node's list.
func (s *session) listNode(ctx context.Context, raw []byte, listing *channel.Listing) (places []Place, err error) {
	org := s.trust.Org()
	var last protocol.Cursor
	for next, seen := "", 0; ; {
		req, err := s.request(ctx, http.MethodPost, protocol.ChannelsPath(org, next), raw)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		var page protocol.Listed
		body, err := s.do(req, protocol.MaxListedAnswer)
		if err := decode(body, err, &page); err != nil {
			return nil, fmt.Errorf("channels of org %s: %w", org, err)
		}
		for i := range page.Channels {
			at := protocol.Cursor{App: page.Channels[i].App, Channel: page.Channels[i].Channel}
			if err := errors.Join(channel.CheckApp(at.App), channel.CheckChannel(at.Channel)); err != nil {
				return nil, fmt.Errorf("the node's list of channels: %w", err)
			}
			if at.Compare(last) <= 0 {
				return nil, fmt.Errorf("the node's list of channels: %s comes after %s", at, last)
			}
			last = at
			if listing.MayRenew(at.App, at.Channel) {
				places = append(places, Place(at))
			}
		}
		if page.Next == "" {
			return places, nil
		}
		if seen += len(page.Channels); seen > maxPlaces {
			return nil, fmt.Errorf("the node's list has more than %d channels", maxPlaces)
		}
		if len(page.Channels) == 0 || page.Next != last.String() {
			return nil, errors.New("the node's list of channels does not continue after its last channel")
		}
		next = page.Next
	}
}

// listOrigin returns the channels that the origin lists, without those of other orgs.
func (s *session) listOrigin(ctx context.Context, listing *channel.Listing) (places []Place, err error) {
	all, err := s.config.Origin.Channels(ctx)
	if err != nil {
		return nil, err
	}
	for _, at := range all {
		if !listing.MayRenew(at.App, at.Channel) {
			continue
		}
		raw, err := s.config.Origin.Manifest(ctx, at.App, at.Channel)
		if err != nil {
			return nil, fmt.Errorf("app %s: channel %s: %w", at.App, at.Channel, err)
		}
		// A manifest that cannot be parsed is included, so that Renew reports it.
		if m, err := channel.ParseManifest(raw); raw == nil || err == nil && m.Org != s.trust.Org() {
			continue
		}
		places = append(places, at)
	}
	return places, nil
}
