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

// Verify returns nil for a request that is signed by the fleet key for this node. A nil fleet refuses all.
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
		return serve.Problem(protocol.CodeUnsigned, err.Error(), "only nodes of the fleet may ask for this")
	}
	return nil
}

// Only has a handler answer requests without a body that are signed by the fleet key, and no others.
func (f *Fleet) Only(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		if err := f.Verify(r, nil); err != nil {
			return err
		}
		return do(r)
	}
}

// Signed has the answers of a handler signed by the fleet key, if they are in memory. The handler verifies the request.
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

// read reads the body of a request that is signed by the fleet key, as JSON. It is for requests that have an
// effect, so it takes each of them once.
func (f *Fleet) read(r *serve.Request, limit int64, into any) error {
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
		return serve.Problem(protocol.CodeBadRequest, "the body is not the JSON that is expected", "")
	}
	return nil
}

// GetStatus answers GET /v1/fleet/status: what this node says of itself.
func (f *Fleet) GetStatus(r *serve.Request) error {
	if err := f.Verify(r, nil); err != nil {
		return err
	}
	return r.WriteJSON(http.StatusOK, f.Status())
}

// PostHold answers POST /v1/fleet/hold: a channel manifest that another node has, and that this one is to have too.
func (f *Fleet) PostHold(r *serve.Request) error {
	var in protocol.Hold
	if err := f.read(r, protocol.MaxCheck, &in); err != nil {
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
	if !f.holds(&in) {
		return serve.Problem(protocol.CodeConflict, "another release is in force here", "see brink fleet status")
	}
	return r.WriteJSON(http.StatusOK, protocol.Replica{Node: f.Node, Region: f.Region})
}

// holds reports whether what is in force here is the manifest asked for, or one that goes on from its release.
func (f *Fleet) holds(in *protocol.Hold) bool {
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
	if err := f.read(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	if ahead := in.At.Sub(f.Now()); ahead.Abs() > sign.Skew {
		return serve.Problem(protocol.CodeBadRequest, "at is not the time of now", "compare the clocks of the nodes")
	}
	if !f.drainedAt(in.At) {
		return serve.Problem(protocol.CodeConflict, "this node was started, drained or undrained after that",
			"ask again; if that does not help, compare the clocks of the nodes")
	}
	f.Drain(in.Drain)
	return r.WriteJSON(http.StatusOK, f.Status())
}
