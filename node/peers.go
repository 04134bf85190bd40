package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/gossip"
	"brink/node/serve"
	"brink/origin/sign"
	"brink/protocol"
)

// ask sends a request to another node, signed by the fleet key, and returns the body of its answer, of at most limit
// bytes. An answer that says no is a [*protocol.Problem]. One to a path of the fleet has to be signed by the fleet key,
// too.
func (n *Node) ask(
	ctx context.Context, to gossip.Member, method, target string, body []byte, limit int64,
) ([]byte, error) {
	resp, err := n.open(ctx, to, method, target, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("node %s: its answer has more than %d bytes", to.Name, limit)
	}
	if strings.HasPrefix(target, protocol.FleetPath) {
		field := resp.Request.Header.Get(fasthttp.HeaderAuthorization)
		if err := n.fleet.ring.VerifyAnswer(field, digest.Sum(raw), resp.Header.Get(sign.AnswerField)); err != nil {
			return nil, fmt.Errorf("node %s: %w", to.Name, err)
		}
	}
	return raw, nil
}

// open is ask for an answer that is read as it comes: one with status 200 or 204. The caller closes its body.
func (n *Node) open(
	ctx context.Context, to gossip.Member, method, target string, body []byte,
) (*http.Response, error) {
	u, err := url.Parse(to.URL + target)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set(fasthttp.HeaderAuthorization, n.fleet.ring.Sign(sign.Request{
		To: to.Name, Method: method, Target: u.RequestURI(), Body: digest.Sum(body),
	}, n.config.Now()))
	resp, err := n.peering.Do(req)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return resp, nil
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, protocol.MaxProblem))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	return nil, fmt.Errorf("node %s: %w", to.Name, protocol.ReadProblem(resp.StatusCode, raw))
}

// askJSON is ask with JSON both ways. A nil question has no body, a nil answer is not read.
func (n *Node) askJSON(ctx context.Context, to gossip.Member, method, target string, question, answer any) error {
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	raw, err := n.ask(ctx, to, method, target, body, protocol.MaxFleetAnswer)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("node %s: %w", to.Name, err)
	}
	return nil
}

// fromFleet returns nil for a request that is signed by the fleet key.
func (n *Node) fromFleet(r *serve.Request, body []byte) error {
	if n.fleet == nil {
		return serve.Problem(protocol.CodeNotFound, "this node belongs to no fleet", "start it with --fleet")
	}
	err := n.fleet.ring.Verify(sign.Request{
		To:     n.fleet.config.Node,
		Method: string(r.Method()),
		Target: string(r.Request.Header.RequestURI()),
		Body:   digest.Sum(body),
	}, r.Authorization(), n.config.Now())
	if err != nil {
		return serve.Problem(protocol.CodeUnsigned, err.Error(), "only nodes of the fleet may ask for this")
	}
	return nil
}

// signed has the answers of a handler signed by the fleet key, if they are in memory. The handler verifies the request.
func (n *Node) signed(do serve.Handler) serve.Handler {
	return func(r *serve.Request) error {
		if err := do(r); err != nil {
			return err
		}
		if !r.Response.IsBodyStream() {
			r.Response.Header.Set(sign.AnswerField, n.fleet.ring.SignAnswer(r.Authorization(), digest.Sum(r.Response.Body())))
		}
		return nil
	}
}

// readFleet reads the body of a request that is signed by the fleet key, as JSON. It is for requests that have an
// effect, so it takes each of them once.
func (n *Node) readFleet(r *serve.Request, limit int64, into any) error {
	body, err := r.ReadBody(limit)
	if err != nil {
		return err
	}
	if err := n.fromFleet(r, body); err != nil {
		return err
	}
	if err := n.fleet.once.Take(r.Authorization(), n.config.Now()); err != nil {
		return serve.Problem(protocol.CodeUnsigned, err.Error(), "sign it anew")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return serve.Problem(protocol.CodeBadRequest, "the body is not the JSON that is expected", "")
	}
	return nil
}

// fleetRoutes returns what the nodes of a fleet ask each other.
func (n *Node) fleetRoutes() []serve.Route {
	return []serve.Route{
		serve.Get(protocol.FleetStatusPath, "fleet", n.signed(n.fleetStatus)),
		serve.Post(protocol.FleetHoldPath, "fleet", n.signed(n.fleetHold)),
		serve.Post(protocol.FleetDrainPath, "fleet", n.signed(n.fleetDrain)),
		serve.Post(protocol.FleetKeysPath, "fleet", n.signed(n.fleetKeys)),
		serve.Get(protocol.FleetStatsPath, "fleet", n.signed(n.fleetStats)),
		serve.Get(protocol.FleetChoicesPath, "fleet", n.signed(n.fleetChoices)),
		serve.Get(protocol.FleetDerivedPath, "fleet", n.fleetDerived),
	}
}

// fleetStatus answers GET /v1/fleet/status: what this node says of itself.
func (n *Node) fleetStatus(r *serve.Request) error {
	if err := n.fromFleet(r, nil); err != nil {
		return err
	}
	return r.WriteJSON(http.StatusOK, n.status())
}

// fleetHold answers POST /v1/fleet/hold: a channel manifest that another node has, and that this one is to have too.
func (n *Node) fleetHold(r *serve.Request) error {
	var in protocol.Hold
	if err := n.readFleet(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	p := gossip.Pointer{
		Kind: gossip.Manifest, Name: in.App + "/" + in.Channel, Sequence: in.Order, Digest: in.Statement,
	}
	if held, ok := n.fleet.gossip.Held(p.Kind, p.Name); !ok || held.Compare(p) < 0 {
		from, ok := n.fleet.member(in.From)
		if !ok {
			return serve.Problem(protocol.CodeUnavailable, fmt.Sprintf("node %s is not known here yet", in.From), "")
		}
		if err := n.pull(n.ctx, from, in.App, in.Channel); err != nil {
			return err
		}
	}
	if !n.holds(&in) {
		return serve.Problem(protocol.CodeConflict, "another release is in force here", "see brink fleet status")
	}
	return r.WriteJSON(http.StatusOK, protocol.Replica{Node: n.fleet.config.Node, Region: n.fleet.config.Region})
}

// holds reports whether what is in force here is the manifest asked for, or one that goes on from its release.
func (n *Node) holds(in *protocol.Hold) bool {
	m := n.channels.get(in.App, in.Channel)
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

// fleetDrain answers POST /v1/fleet/drain.
func (n *Node) fleetDrain(r *serve.Request) error {
	var in protocol.Drain
	if err := n.readFleet(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	if ahead := in.At.Sub(n.config.Now()); ahead.Abs() > sign.Skew {
		return serve.Problem(protocol.CodeBadRequest, "at is not the time of now", "compare the clocks of the nodes")
	}
	if !n.fleet.drainedAt(in.At) {
		return serve.Problem(protocol.CodeConflict, "this node was started, drained or undrained after that",
			"ask again; if that does not help, compare the clocks of the nodes")
	}
	n.setDraining(in.Drain)
	return r.WriteJSON(http.StatusOK, n.status())
}
