package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"

	"brink/digest"
	"brink/gossip"
	"brink/node/internal/serve"
	"brink/origin/sign"
	"brink/protocol"
)

// Verify returns nil for a request to this node that is signed with the fleet key. A nil fleet refuses all.
func (f *Fleet) Verify(r *serve.Request, body []byte) error {
	if f == nil {
		return serve.Problem(protocol.CodeNotFound, "this node belongs to no fleet", "start it with --fleet")
	}
	err := f.ring.Verify(sign.Request{
		To:     f.Node,
		Method: string(r.Method()),
		Target: string(r.Request.Header.RequestURI()),
		Body:   digest.Sum(body),
	}, r.Authorization(), f.Now())
	if err != nil {
		return serve.Problem(protocol.CodeUnsigned, err.Error(), "only nodes of the fleet may request this")
	}
	return nil
}

// Verified returns a handler that passes only requests that are signed with the fleet key and have no body.
func (f *Fleet) Verified(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		if err := f.Verify(r, nil); err != nil {
			return err
		}
		return do(r)
	}
}

// Signed returns a handler whose answers are signed with the fleet key, if they are in memory. do verifies the request.
func (f *Fleet) Signed(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		if err := do(r); err != nil {
			return err
		}
		if !r.Response.IsBodyStream() {
			r.Response.Header.Set(sign.AnswerField, f.ring.SignAnswer(r.Authorization(), digest.Sum(r.Response.Body())))
		}
		return nil
	}
}

// readSigned decodes the JSON body of a request that is signed with the fleet key. It is for requests that have an
// effect, so it accepts each of them only once.
func (f *Fleet) readSigned(r *serve.Request, limit int64, into any) error {
	body, err := r.ReadBody(limit)
	if err != nil {
		return err
	}
	if err := f.Verify(r, body); err != nil {
		return err
	}
	if err := f.once.Take(r.Authorization(), f.Now()); err != nil {
		return serve.Problem(protocol.CodeUnsigned, err.Error(), "sign it again")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return serve.Problem(protocol.CodeBadRequest, "the body is not the expected JSON", "")
	}
	return nil
}

// GetStatus answers GET /v1/fleet/status with the status of this node.
func (f *Fleet) GetStatus(r *serve.Request) error {
	if err := f.Verify(r, nil); err != nil {
		return err
	}
	return r.WriteJSON(http.StatusOK, f.Status())
}

// PostHold answers POST /v1/fleet/hold: another node has brought a channel manifest into force, and requests that this
// one does so too.
func (f *Fleet) PostHold(r *serve.Request) error {
	var in protocol.Hold
	if err := f.readSigned(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	p := gossip.Pointer{
		Kind: gossip.Manifest, Name: in.App + "/" + in.Channel, Sequence: in.Order, Digest: in.Statement,
	}
	if held, ok := f.gossip.Held(p.Kind, p.Name); !ok || held.Compare(p) < 0 {
		from, ok := f.Member(in.From)
		if !ok {
			return serve.Problem(protocol.CodeUnavailable, fmt.Sprintf("node %s is not known here yet", in.From), "")
		}
		if err := f.pull(f.Context, from, in.App, in.Channel); err != nil {
			return err
		}
	}
	if !f.isInForce(&in) {
		return serve.Problem(protocol.CodeConflict, "another release is in force here", "see brink fleet status")
	}
	return r.WriteJSON(http.StatusOK, protocol.Replica{Node: f.Node, Region: f.Region})
}

// isInForce reports whether the requested manifest is in force here, or a later one with its release in the history.
func (f *Fleet) isInForce(in *protocol.Hold) bool {
	m := f.Door.State.Manifest(in.App, in.Channel)
	if m == nil || m.Order() <= in.Order {
		return m != nil && m.Statement() == in.Statement
	}
	for release := range m.Releases() {
		if release.Bundle == in.Bundle {
			return true
		}
	}
	return false
}

// PostDrain answers POST /v1/fleet/drain.
func (f *Fleet) PostDrain(r *serve.Request) error {
	var in protocol.Drain
	if err := f.readSigned(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	if ahead := in.At.Sub(f.Now()); ahead.Abs() > sign.Skew {
		return serve.Problem(protocol.CodeBadRequest, "at differs too much from the time of this node",
			"compare the clocks of the nodes")
	}
	if !f.recordDrain(in.At) {
		return serve.Problem(protocol.CodeConflict, "this node was started, drained or undrained after that request",
			"try again; if that does not help, compare the clocks of the nodes")
	}
	f.Drain(in.Drain)
	return r.WriteJSON(http.StatusOK, f.Status())
}
