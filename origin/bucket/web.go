package bucket

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// web is a copy of a bucket behind any HTTP server.
type web struct {
	base string
	http *http.Client
}

func (w *web) get(ctx context.Context, key string, ask ask) (*object, error) {
	resp, err := w.do(ctx, http.MethodGet, key, ask)
	if err != nil {
		return nil, err
	}
	o := &object{ReadCloser: resp.Body, tag: resp.Header.Get("ETag")}
	if ask.length > 0 && resp.StatusCode == http.StatusOK {
		// The server does not support ranges, and sends the whole object.
		if _, err := io.CopyN(io.Discard, resp.Body, ask.offset); err != nil {
			resp.Body.Close()
			return nil, &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
		}
	}
	return o, nil
}

func (w *web) put(_ context.Context, key string, _ io.ReadSeeker, _ int64, _ condition) error {
	return &Error{Op: "put", Key: key, Kind: ErrReadOnly}
}

func (w *web) size(ctx context.Context, key string) (int64, error) {
	resp, err := w.do(ctx, http.MethodHead, key, ask{})
	if err != nil {
		return 0, err
	}
	return resp.ContentLength, resp.Body.Close()
}

func (w *web) list(_ context.Context, prefix string) ([]string, error) {
	return nil, &Error{Op: "list", Key: prefix, Kind: ErrDenied, Err: fmt.Errorf("HTTP servers cannot list objects")}
}

// do returns a successful response; the caller closes its body.
func (w *web) do(ctx context.Context, method, key string, ask ask) (*http.Response, error) {
	// Keys consist of names and digests, which need no escaping.
	req, err := http.NewRequestWithContext(ctx, method, w.base+"/"+key, http.NoBody)
	if err != nil {
		return nil, err
	}
	if ask.tag != "" {
		req.Header.Set("If-None-Match", ask.tag)
	}
	if ask.length > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", ask.offset, ask.offset+ask.length-1))
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return nil, &Error{Op: "get", Key: key, Kind: ErrUnavailable, Err: err}
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	}
	resp.Body.Close()
	e := &Error{Op: "get", Key: key, Kind: ErrUnavailable, Err: fmt.Errorf("the answer is %s", resp.Status)}
	switch resp.StatusCode {
	case http.StatusNotModified:
		e.Kind = ErrNotModified
	case http.StatusNotFound, http.StatusGone:
		e.Kind = ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = ErrDenied
	case http.StatusRequestedRangeNotSatisfiable:
		e.Kind = ErrMalformed
	}
	return nil, e
}
