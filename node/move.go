package node

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/force"
	"brink/node/internal/serve"
	"brink/protocol"
	"brink/store"
)

// putManifest answers PUT /v1/apps/{app}/channels/{channel}, with a signed manifest that replaces the one that the
// request names, or none.
//
// When it answers with success, the manifest is durable and in force here and on the other nodes that the answer lists.
func (n *Node) putManifest(r *serve.Request) error {
	raw, err := r.ReadBody(channel.MaxManifest)
	if err != nil {
		return err
	}
	expect, err := expected(r)
	if err != nil {
		return err
	}
	want, err := n.fleet.ReadReplicas(r)
	if err != nil {
		return err
	}
	m, lapsed := n.state.Current(r.Names[0], r.Names[1])
	// Sending the manifest in force again is allowed, because the answer to its publisher may have been lost.
	if m == nil || lapsed || m.Digest() != digest.Sum(raw) {
		source := force.Source{Kind: force.Published, Expect: expect}
		if m, err = n.door.Apply(n.ctx, raw, r.Names[0], r.Names[1], source); err != nil {
			return err
		}
	}
	return r.WriteJSON(fasthttp.StatusOK, protocol.Moved{
		App: m.App, Channel: m.Channel, Sequence: m.Sequence, Manifest: m.Digest(), Replicas: n.fleet.Replicate(m, want),
	})
}

// expected returns the digest of the manifest that the request expects to be in force; zero: none.
func expected(r *serve.Request) (digest.Digest, error) {
	match := string(r.Request.Header.Peek(fasthttp.HeaderIfMatch))
	none := string(r.Request.Header.Peek(fasthttp.HeaderIfNoneMatch))
	switch {
	case match == "" && none == "*":
		return digest.Digest{}, nil
	case match != "" && none == "":
		if len(match) == digest.TextSize+2 && match[0] == '"' && match[len(match)-1] == '"' {
			if d, err := digest.Parse(match[1 : len(match)-1]); err == nil {
				return d, nil
			}
		}
		return digest.Digest{}, serve.Problem(protocol.CodeBadRequest,
			"If-Match is not the entity tag of a channel manifest", "")
	}
	return digest.Digest{}, serve.Problem(protocol.CodePrecondition, "the request does not name the manifest to replace",
		"send If-Match with the entity tag of the manifest in force, or If-None-Match: * for a new channel")
}

// getIntent answers GET /v1/bundles/{bundle}/intent with what the publisher signed, for other nodes of the fleet only,
// because an intent allows uploads until it expires.
func (n *Node) getIntent(r *serve.Request) error {
	if err := n.fleet.Verify(r, nil); err != nil {
		return err
	}
	id, err := r.Digest()
	if err != nil {
		return err
	}
	raw, err := n.store.Intent(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && len(raw) == 0 {
		return serve.Problem(protocol.CodeUnknownBundle, fmt.Sprintf("the intent of bundle %s is not here", id.Short()), "")
	}
	if err != nil {
		return err
	}
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store") // it names the publisher's key, and may be replaced
	r.Response.SetBodyRaw(raw)
	return nil
}
