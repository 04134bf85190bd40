package force

import (
	"fmt"
	"net/http"
	"slices"

	"brink/channel"
	"brink/node/internal/serve"
	"brink/protocol"
)

// PostListing answers POST /v1/orgs/{org}/channels with the channels of the org that are in force and that the roles of
// a key cover. A listing signed by that key authorises the request.
func (h *Handlers) PostListing(r *serve.Request) error {
	trust := h.Door.State.Trust(r.Names[0])
	if trust == nil {
		return serve.Problem(protocol.CodeUnknownOrg, fmt.Sprintf("org %q is unknown here", r.Names[0]),
			"start the node with its trust document")
	}
	raw, err := r.ReadBody(channel.MaxListing)
	if err != nil {
		return err
	}
	signed, err := trust.VerifyListing(raw, h.Door.Now())
	if err != nil {
		return err
	}
	after, err := protocol.ParseCursor(string(r.QueryArgs().Peek("after")))
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "after is not an app and channel: "+err.Error(),
			"send the value of next from the previous page")
	}
	page := h.Door.State.list(signed, after, protocol.MaxListed+1)
	answer := protocol.Listed{Org: trust.Org(), Channels: make([]protocol.ListedChannel, 0, len(page))}
	for _, m := range page[:min(len(page), protocol.MaxListed)] {
		answer.Channels = append(answer.Channels, protocol.ListedChannel{
			App: m.App, Channel: m.Channel, Sequence: m.Sequence, Expires: m.Expires, Manifest: m.Digest(),
		})
	}
	if len(page) > protocol.MaxListed {
		last := answer.Channels[protocol.MaxListed-1]
		answer.Next = protocol.Cursor{App: last.App, Channel: last.Channel}.String()
	}
	return r.WriteJSON(http.StatusOK, answer)
}

// list returns up to limit manifests in force that a listing covers, after a cursor, sorted by app and channel.
func (s *State) list(signed *channel.Listing, after protocol.Cursor, limit int) (list []*channel.Manifest) {
	apps := s.Apps()
	first, _ := slices.BinarySearch(apps, after.App)
	for _, app := range apps[first:] {
		for _, m := range s.Of(app) {
			at := protocol.Cursor{App: app, Channel: m.Channel}
			if at.Compare(after) <= 0 || m.Org != signed.Org || !signed.Shows(app, m.Channel) {
				continue
			}
			if list = append(list, m); len(list) == limit {
				return list
			}
		}
	}
	return list
}
