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
	"time"

	"brink/channel"
	"brink/protocol"
)

// TCP starts slowly: ten packets in the first round trip of a connection (RFC 6928), and twice as many in each of the
// following (RFC 5681). Several connections start in parallel, so an archive needs fewer round trips in parts.
const (
	// minPart is how many bytes fit into the first round trip, besides the head of the response. Smaller parts are not
	// worth a connection.
	minPart = 13 << 10
	// maxPart limits the size of all parts but the last, and so the bytes of a part that are buffered until the parts
	// before it are read. The last part has the rest, over a connection that is no longer in slow start.
	maxPart = 1 << 20
)

// minPatience is how long a kernel waits before it retransmits a lost packet (Linux: TCP_RTO_MIN).
const minPatience = 200 * time.Millisecond

// part is a range of a representation, requested over its own connection.
type part struct {
	from, to int64 // the first byte that is not read yet, and the end
	cancel   context.CancelFunc

	done chan struct{} // closed when the head of the response is received and, except for the first part, buffered bytes
	etag string
	body io.Reader // nil if err is not
	resp *http.Response
	err  error

	again bool // this is the second request for it
}

// split splits size bytes into parts, at most one per connection.
func split(size int64, connections int) []*part {
	n := max(min((size+minPart-1)/minPart, int64(connections)), 1)
	length := min((size+n-1)/n, maxPart)
	parts := make([]*part, n)
	for i := range parts {
		from := int64(i) * length
		parts[i] = &part{from: from, to: min(from+length, size)}
	}
	parts[n-1].to = size
	return parts
}

// requestArchive sends a request for an archive. If it is for the whole archive, and the node's hint has its length in
// an encoding that the request accepts, it requests parts in parallel and returns them as one response. It ignores a
// hint whose length exceeds what the signed release allows.
func (t *transfer) requestArchive(req *http.Request, release *channel.Release, result *Result) (*http.Response, error) {
	hint := t.hint
	t.hint = protocol.Representation{} // it is used only once
	wanted := hint.Size <= maxEncoded(release, hint.Encoding) && req.Header.Get("Range") == "" &&
		slices.Contains(strings.Split(req.Header.Get("Accept-Encoding"), ", "), hint.Encoding)
	if parts := split(hint.Size, t.client.config.Connections); wanted && len(parts) > 1 {
		resp, err := t.join(req, hint, parts)
		if err == nil {
			result.Parts = len(parts)
			return resp, nil
		}
		if req.Context().Err() != nil || t.tryNext(err) {
			return nil, err
		}
		t.client.config.Logger.Warn("download in parts failed, requesting the whole archive", "error", err)
	}
	result.Parts = 0
	return t.do(req)
}

// join requests all parts of a representation, and returns when the response for the first one has started.
func (t *transfer) join(req *http.Request, of protocol.Representation, parts []*part) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	j := &joined{transfer: t, req: req.Clone(ctx), size: of.Size, left: parts, start: time.Now(), cancel: cancel}
	j.req.Header.Set("Accept-Encoding", of.Encoding)
	first := parts[0]
	j.request(first, 0)
	for _, p := range parts[1:] {
		j.request(p, maxPart)
	}
	if err := j.wait(first); err != nil {
		_ = j.Close() // always nil
		return nil, err
	}
	j.etag = first.etag
	whole := *first.resp
	whole.Status, whole.StatusCode = "200 OK", http.StatusOK
	whole.Header = whole.Header.Clone()
	whole.Header.Del("Content-Range")
	whole.ContentLength, whole.Body = of.Size, j
	return &whole, nil
}

// joined is the body of a response that consists of several parts. A part that fails is requested once more when it is
// to be read.
type joined struct {
	transfer *transfer
	req      *http.Request
	size     int64
	etag     string  // of the first part; all parts must have the same
	left     []*part // the unread ones, starting with the current one
	start    time.Time

	cancel   context.CancelFunc
	requests sync.WaitGroup
}

// request requests a part, or the rest of it, and buffers at most hold bytes.
func (j *joined) request(p *part, hold int64) {
	ctx, cancel := context.WithCancel(j.req.Context())
	p.cancel, p.done = cancel, make(chan struct{})
	j.requests.Go(func() {
		defer close(p.done)
		p.err = j.receive(ctx, p, hold)
	})
}

func (j *joined) receive(ctx context.Context, p *part, hold int64) (err error) {
	req := j.req.Clone(ctx)
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", p.from, p.to-1))
	if p.resp, err = j.transfer.do(req); err != nil { //nolint:bodyclose // part.close does
		return err
	}
	got, ok := parseSpan(p.resp.Header.Get("Content-Range"))
	if want := (span{p.from, p.to - 1, j.size}); !ok || p.resp.StatusCode != http.StatusPartialContent || got != want {
		return fmt.Errorf("requested bytes %d-%d of %d, got %s with Content-Range %q",
			want.first, want.last, want.total, p.resp.Status, p.resp.Header.Get("Content-Range"))
	}
	p.etag = p.resp.Header.Get("ETag")
	head := make([]byte, min(hold, p.to-p.from))
	n, _ := io.ReadFull(p.resp.Body, head) // the next read of the body returns the error again
	p.body = io.MultiReader(bytes.NewReader(head[:n]), p.resp.Body)
	return nil
}

// wait waits for the response for a part, and requests it once more if that fails.
func (j *joined) wait(p *part) error {
	j.await(p)
	err := p.err
	if err == nil && j.etag != "" && p.etag != j.etag {
		err = fmt.Errorf("the part has ETag %s, want %s", p.etag, j.etag)
	}
	if err != nil && !p.again && j.req.Context().Err() == nil {
		j.requestAgain(p, err)
		return j.wait(p)
	}
	return err
}

func (j *joined) requestAgain(p *part, reason error) {
	j.transfer.client.config.Logger.Warn("part failed, requesting it again", "from", p.from, "to", p.to, "error", reason)
	p.close()
	*p = part{from: p.from, to: p.to, again: true}
	j.request(p, 0)
}

// await waits for the current part. It cancels the request, but only the first one for the part, if it takes twice as
// long as all others: most likely the first packet of its connection was lost, which takes a second to be detected. It
// waits for at least minPatience.
func (j *joined) await(p *part) {
	if p.again {
		<-p.done
		return
	}
	for _, other := range j.left[1:] {
		select {
		case <-p.done:
			return
		case <-other.done:
		}
	}
	patience := time.NewTimer(max(time.Since(j.start), minPatience))
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		p.cancel()
		<-p.done
	}
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
		if err := j.wait(p); err != nil {
			return 0, err
		}
		n, err := p.body.Read(b[:min(int64(len(b)), p.to-p.from)])
		p.from += int64(n)
		switch {
		case n > 0 || err == nil:
			return n, nil
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		if p.again {
			return 0, err
		}
		j.requestAgain(p, err)
	}
	return 0, io.EOF
}

// close releases the connection of a part. The part is not used any more.
func (p *part) close() {
	p.cancel()
	if p.resp != nil {
		_ = p.resp.Body.Close() // no more bytes are needed
	}
}

// Close cancels outstanding requests.
func (j *joined) Close() error {
	j.cancel()
	j.requests.Wait()
	for _, p := range j.left {
		p.close()
	}
	return nil
}
