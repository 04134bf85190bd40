package force

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// Handlers answer requests about what is in force.
type Handlers struct {
	Context context.Context // of work that outlives a request
	Door    *Door
	Sender  *serve.Sender
}

// GetApp answers GET /v1/apps/{app}.
func (h *Handlers) GetApp(r *serve.Request) error {
	app, state := r.Names[0], h.Door.State
	trust, err := state.Owner(app)
	if err != nil {
		return err
	}
	answer := protocol.App{
		App:      app,
		Org:      trust.Org(),
		Trust:    protocol.TrustPath(trust.Org()),
		Channels: []protocol.AppChannel{},
	}
	for _, m := range state.Of(app) {
		answer.Channels = append(answer.Channels, protocol.AppChannel{
			Channel:  m.Channel,
			Sequence: m.Sequence,
			Version:  m.Release.Version,
			Manifest: m.Digest(),
			Reverted: m.Reverted(),
		})
	}
	return r.WriteJSON(http.StatusOK, answer)
}

// GetManifest answers GET /v1/apps/{app}/channels/{channel} with the manifest that the next one has to follow.
func (h *Handlers) GetManifest(r *serve.Request) error {
	m, lapsed := h.Door.State.Current(r.Names[0], r.Names[1])
	if !lapsed {
		var err error
		if m, err = h.Door.State.Require(r.Names[0], r.Names[1]); err != nil {
			return err
		}
	}
	return h.Sender.SendSigned(r, m.Raw(), m.Digest())
}

// GetTrust answers GET /v1/orgs/{org}/trust.
func (h *Handlers) GetTrust(r *serve.Request) error {
	trust := h.Door.State.Trust(r.Names[0])
	if trust == nil {
		return serve.Problem(protocol.CodeUnknownOrg, fmt.Sprintf("org %q is unknown here", r.Names[0]),
			"start the node with its trust document")
	}
	return h.Sender.SendSigned(r, trust.Raw(), trust.Digest())
}

// PutTrust answers PUT /v1/orgs/{org}/trust, the upload of the successor of the trust document in force. It is signed
// by the roots, so anybody may upload it.
func (h *Handlers) PutTrust(r *serve.Request) error {
	raw, err := r.ReadBody(channel.MaxTrust)
	if err != nil {
		return err
	}
	if err := h.Door.ApplyTrust(h.Context, r.Names[0], raw, nil); err != nil {
		return err
	}
	return r.WriteJSON(http.StatusOK, protocol.TrustAccepted{
		Org: r.Names[0], Version: h.Door.State.Trust(r.Names[0]).Version(),
	})
}

// GetTrustVersion answers GET /v1/orgs/{org}/trust/{version}, with a version that was in force here, or a predecessor.
func (h *Handlers) GetTrustVersion(r *serve.Request) error {
	version, err := strconv.ParseUint(r.Names[1], 10, 64)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, "the version is not a number", "")
	}
	raw, err := h.Door.Store.TrustVersion(r.Names[0], version)
	if errors.Is(err, store.ErrNotFound) {
		return serve.Problem(protocol.CodeUnknownOrg,
			fmt.Sprintf("version %d of a trust document of org %q is not here", version, r.Names[0]), "")
	}
	if err != nil {
		return err
	}
	return h.Sender.SendSigned(r, raw, digest.Sum(raw))
}
