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
	if err := CheckSender(resp); err != nil {
		return nil, err
	}
	raw, err := ReadAll(resp.Body, limit)
	if err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	return raw, nil
}

// CheckSender returns a [*Problem] with [CodeUnexpected] for a successful response that no node sends to its client: a
// page of HTML, as login pages of networks (captive portals) and misconfigured proxies are. It reads no body.
func CheckSender(resp *http.Response) error {
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "text/html") {
		return nil
	}
	p := unexpected(resp.StatusCode)
	p.Message = "the answer is a web page, and does not come from a node"
	p.Hint = "does this network want a login, and is this the address of a Brink node?"
	return p
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
