package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"brink/protocol"
)

// request returns a request, and counts its body.
func (s *session) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	s.result.BytesSent += int64(len(body))
	return http.NewRequestWithContext(ctx, method, s.config.Node+path, bytes.NewReader(body))
}

// fetch fetches path and returns the body of the response.
func (s *session) fetch(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := s.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return s.do(req, limit)
}

// do sends a request and returns the body of a successful response, of at most limit bytes. The error for an error
// response is a [*protocol.Problem].
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

// decode decodes a JSON answer, unless err is not nil.
func decode(raw []byte, err error, answer any) error {
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return fmt.Errorf("decode the node's answer: %w", err)
	}
	return nil
}
