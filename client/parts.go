package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"brink/protocol"
)

// A connection begins slowly: ten packets in its first round trip (RFC 6928), twice as many in each that follows (RFC
// 5681). Several begin side by side, so an archive takes fewer round trips in parts than as a whole.
const (
	// minPart is the size in bytes that the first round trip carries, with the head of the answer. Smaller parts are not
	// worth a connection.
	minPart = 13 << 10
	// maxPart bounds, in bytes, what is held of a part until its turn comes. The last part has what is beyond it, over a
	// connection that is up to speed by then.
	maxPart = 1 << 20
)

// part is some of a representation, asked for over a connection of its own.
type part struct {
	from, to int64 // its first byte that was not read yet, and the one behind its last

	done chan struct{} // closed when the answer is there, and of all but the first part what is held of it
	etag string
	body io.Reader // nil: err says why
	resp *http.Response
	err  error

	again bool // whether it was asked for once more
}

// split cuts size bytes into parts for at most so many connections.
func split(size int64, connections int) []*part {
	n := max(min((size+minPart-1)/minPart, int64(connections)), 1)
	length := min((size+n-1)/n, maxPart)
	parts := make([]*part, n)
	for i := range parts {
		from := int64(i) * length
		parts[i] = &part{from: from, to: min(from+length, size), done: make(chan struct{})}
	}
	parts[n-1].to = size
	return parts
}

// archive sends a request for an archive. If it is for all of it, and the node has told how long it is in an encoding
// that the request takes, that is asked for in parts at once, and the answer is as if it had come whole.
func (t *transfer) archive(req *http.Request, result *Result) (*http.Response, error) {
	hint := t.hint
	t.hint = protocol.Representation{} // it is good for one attempt
	wanted := req.Header.Get("Range") == "" &&
		slices.Contains(strings.Split(req.Header.Get("Accept-Encoding"), ", "), hint.Encoding)
	if parts := split(hint.Size, t.client.config.Connections); wanted && len(parts) > 1 {
		resp, err := t.join(req, hint, parts)
		if err == nil {
			result.Parts = len(parts)
			return resp, nil
		}
		if req.Context().Err() != nil {
			return nil, err
		}
		t.client.config.Logger.Warn("no answer in parts, asking for the whole", "error", err)
	}
	result.Parts = 0
	return t.do(req)
}

// join asks for all parts of a representation, and returns when the answer for the first one is there.
func (t *transfer) join(req *http.Request, of protocol.Representation, parts []*part) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	j := &joined{transfer: t, req: req.Clone(ctx), size: of.Size, left: parts, cancel: cancel}
	j.req.Header.Set("Accept-Encoding", of.Encoding)
	for _, p := range parts[1:] {
		j.asking.Go(func() { j.ask(p, maxPart) })
	}
	first := parts[0]
	if j.ask(first, 0); first.err != nil {
		_ = j.Close() // always nil
		return nil, first.err
	}
	j.etag = first.etag
	whole := *first.resp
	whole.Status, whole.StatusCode = "200 OK", http.StatusOK
	whole.Header = whole.Header.Clone()
	whole.Header.Del("Content-Range")
	whole.ContentLength, whole.Body = of.Size, j
	return &whole, nil
}

// joined is the body of an answer that comes in parts. What can not be had of a part is asked for once more, when its
// turn has come.
type joined struct {
	transfer *transfer
	req      *http.Request
	size     int64
	etag     string  // of the first part: all have to be of the same representation
	left     []*part // the first is being read

	cancel context.CancelFunc
	asking sync.WaitGroup
}

// ask asks for a part, or what is left of it, and reads at most hold bytes of it at once.
func (j *joined) ask(p *part, hold int64) {
	defer close(p.done)
	req := j.req.Clone(j.req.Context())
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p.from, p.to-1))
	p.resp, p.err = j.transfer.do(req) //nolint:bodyclose // part.close does
	if p.err != nil {
		return
	}
	want := fmt.Sprintf("bytes %d-%d/%d", p.from, p.to-1, j.size)
	if got := p.resp.Header.Get("Content-Range"); p.resp.StatusCode != http.StatusPartialContent || got != want {
		p.err = fmt.Errorf("%q was asked for, and %s %q came", want, p.resp.Status, got)
		return
	}
	p.etag = p.resp.Header.Get("ETag")
	head := make([]byte, min(hold, p.to-p.from))
	n, _ := io.ReadFull(p.resp.Body, head) // the body tells its error again to who reads on
	p.body = io.MultiReader(bytes.NewReader(head[:n]), p.resp.Body)
}

// Read implements [io.Reader].
func (j *joined) Read(b []byte) (int, error) {
	for len(j.left) > 0 {
		p := j.left[0]
		if p.from == p.to {
			p.close()
			j.left = j.left[1:]
			continue
		}
		n, err := p.read(b, j.etag)
		if n > 0 {
			return n, nil
		}
		if err != nil && p.again {
			return 0, err
		}
		if err != nil {
			j.transfer.client.config.Logger.Warn("part failed, asking once more", "from", p.from, "to", p.to, "error", err)
			p.close()
			*p = part{from: p.from, to: p.to, done: make(chan struct{}), again: true}
			j.ask(p, 0)
		}
	}
	return 0, io.EOF
}

// read reads some of a part, which it waits for.
func (p *part) read(b []byte, etag string) (int, error) {
	<-p.done
	if p.err != nil {
		return 0, p.err
	}
	if p.etag != etag {
		return 0, fmt.Errorf("a part of %s among those of %s", p.etag, etag)
	}
	n, err := p.body.Read(b[:min(int64(len(b)), p.to-p.from)])
	p.from += int64(n)
	if errors.Is(err, io.EOF) && p.from < p.to {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// close gives the connection of a part free. Nobody asks for the part any more.
func (p *part) close() {
	if p.resp != nil {
		_ = p.resp.Body.Close() // all that was wanted of it has been read, or never will be
	}
}

// Close ends what is still on its way.
func (j *joined) Close() error {
	j.cancel()
	j.asking.Wait()
	for _, p := range j.left {
		p.close()
	}
	return nil
}
