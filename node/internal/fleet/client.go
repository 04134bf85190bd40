package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/origin"
	"brink/origin/sign"
	"brink/protocol"
)

// client sends requests to other nodes.
type client struct {
	ring *sign.Ring // the fleet's keys
	http *http.Client
	now  func() time.Time
}

// Request sends a request to another node, signed with the fleet key, and returns the body of the answer, at most limit
// bytes. An answer with an error status is returned as a [*protocol.Problem]. The answer to a path of the fleet must be
// signed with the fleet key, too.
func (c *client) Request(
	ctx context.Context, to origin.Member, method, target string, body []byte, limit int64,
) ([]byte, error) {
	resp, err := c.Open(ctx, to, method, target, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := protocol.ReadAll(resp.Body, limit)
	if err != nil {
		return nil, fmt.Errorf("node %s: its answer: %w", to.Name, err)
	}
	if strings.HasPrefix(target, protocol.FleetPath) {
		field := resp.Request.Header.Get(fasthttp.HeaderAuthorization)
		if err := c.ring.VerifyAnswer(field, digest.Sum(raw), resp.Header.Get(sign.AnswerField)); err != nil {
			return nil, fmt.Errorf("node %s: %w", to.Name, err)
		}
	}
	return raw, nil
}

// Open is Request for an answer that is streamed. It returns an answer with status 200 or 204; the caller closes its
// body.
func (c *client) Open(
	ctx context.Context, to origin.Member, method, target string, body []byte,
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
	req.Header.Set(fasthttp.HeaderAuthorization, c.ring.Sign(sign.Request{
		To: to.Name, Method: method, Target: u.RequestURI(), Body: digest.Sum(body),
	}, c.now()))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fmt.Errorf("node %s: %w", to.Name, protocol.ProblemOf(resp))
}

// RequestJSON is Request with JSON in both directions. A nil in sends no body; a nil out discards the answer.
func (c *client) RequestJSON(ctx context.Context, to origin.Member, method, target string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	raw, err := c.Request(ctx, to, method, target, body, protocol.MaxFleetAnswer)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("node %s: %w", to.Name, err)
	}
	return nil
}
