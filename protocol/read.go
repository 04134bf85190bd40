package protocol

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ErrTooLong is returned when there are more bytes than the limit.
var ErrTooLong = errors.New("too long")

// ReadAll reads r to its end. If r has more than limit bytes it stops and returns [ErrTooLong].
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)
	}
	return raw, nil
}

// ReadAnswer returns the body of a node's successful response, of at most limit bytes. For an error response it returns
// a [*Problem]. The caller closes the body.
func ReadAnswer(resp *http.Response, limit int64) ([]byte, error) {
	if resp.StatusCode/100 != 2 {
		return nil, ProblemOf(resp)
	}
	raw, err := ReadAll(resp.Body, limit)
	if err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	return raw, nil
}

// ProblemOf reads an error response and returns it as a [*Problem], or the error of reading it. The caller closes the
// body.
func ProblemOf(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxProblem))
	if err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	return ReadProblem(resp.StatusCode, raw)
}

// NodeURL checks the base URL of a node and returns it without trailing slashes, so that paths can be appended.
func NodeURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("%q is not an http or https address", text)
	}
	return strings.TrimRight(text, "/"), nil
}
