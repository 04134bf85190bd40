package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"brink/protocol"
)

// request returns a request with a body that is counted.
func (s *session) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	s.result.BytesSent += int64(len(body))
	return http.NewRequestWithContext(ctx, method, s.config.Node+path, bytes.NewReader(body))
}

// get asks for path and returns the answer's body.
func (s *session) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := s.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return s.do(req, limit)
}

// do sends a request and returns the body of a successful answer, of at most limit bytes. An answer that says no is a
// [*protocol.Problem].
func (s *session) do(req *http.Request, limit int64) ([]byte, error) {
	client := *s.config.HTTP
	client.CheckRedirect = protocol.CheckRedirect
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return protocol.ReadAnswer(resp, limit)
}

// decode reads a JSON answer.
func decode(raw []byte, err error, answer any) error {
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	return nil
}
