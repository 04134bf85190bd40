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

// leastPatience is what a kernel waits before it takes a packet for lost and sends it again (Linux: TCP_RTO_MIN).
const leastPatience = 200 * time.Millisecond

// part is some of a representation, asked for over a connection of its own.
type part struct {
	from, to int64 // its first byte that was not read yet, and the one behind its last
	cancel   context.CancelFunc

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
		parts[i] = &part{from: from, to: min(from+length, size)}
	}
	parts[n-1].to = size
	return parts
}

// archive sends a request for an archive. If it is for all of it, and the node has told how long it is in an encoding
// that the request takes, that is asked for in parts at once, and the answer is as if it had come whole. A length that
// the signed release does not account for is no hint.
func (t *transfer) archive(req *http.Request, release *channel.Release, result *Result) (*http.Response, error) {
	hint := t.hint
	t.hint = protocol.Representation{} // it is good for one attempt
	wanted := hint.Size <= maxEncoded(release, hint.Encoding) && req.Header.Get("Range") == "" &&
		slices.Contains(strings.Split(req.Header.Get("Accept-Encoding"), ", "), hint.Encoding)
	if parts := split(hint.Size, t.client.config.Connections); wanted && len(parts) > 1 {
		resp, err := t.join(req, hint, parts)
		if err == nil {
			result.Parts = len(parts)
			return resp, nil
		}
		if req.Context().Err() != nil || t.leave(err) {
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
	j := &joined{transfer: t, req: req.Clone(ctx), size: of.Size, left: parts, start: time.Now(), cancel: cancel}
	j.req.Header.Set("Accept-Encoding", of.Encoding)
	first := parts[0]
	j.ask(first, 0)
	for _, p := range parts[1:] {
		j.ask(p, maxPart)
	}
	if err := j.settle(first); err != nil {
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

// joined is the body of an answer that comes in parts. What cannot be had of a part is asked for once more, when its
// turn has come.
type joined struct {
	transfer *transfer
	req      *http.Request
	size     int64
	etag     string  // of the first part: all have to be of the same representation
	left     []*part // the first is being read
	start    time.Time

	cancel context.CancelFunc
	asking sync.WaitGroup
}

// ask asks for a part, or what is left of it, and has at most hold bytes of it read at once.
func (j *joined) ask(p *part, hold int64) {
	ctx, cancel := context.WithCancel(j.req.Context())
	p.cancel, p.done = cancel, make(chan struct{})
	j.asking.Go(func() {
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
		return fmt.Errorf("bytes %d-%d of %d were asked for, and %s %q came",
			want.first, want.last, want.total, p.resp.Status, p.resp.Header.Get("Content-Range"))
	}
	p.etag = p.resp.Header.Get("ETag")
	head := make([]byte, min(hold, p.to-p.from))
	n, _ := io.ReadFull(p.resp.Body, head) // the body tells its error again to who reads on
	p.body = io.MultiReader(bytes.NewReader(head[:n]), p.resp.Body)
	return nil
}

// settle waits for a part, and asks for it once more if it cannot be had.
func (j *joined) settle(p *part) error {
	j.await(p)
	err := p.err
	if err == nil && j.etag != "" && p.etag != j.etag {
		err = fmt.Errorf("a part of %s among those of %s", p.etag, j.etag)
	}
	if err != nil && !p.again && j.req.Context().Err() == nil {
		j.askAgain(p, err)
		return j.settle(p)
	}
	return err
}

func (j *joined) askAgain(p *part, reason error) {
	j.transfer.client.config.Logger.Warn("part failed, asking once more", "from", p.from, "to", p.to, "error", reason)
	p.close()
	*p = part{from: p.from, to: p.to, again: true}
	j.ask(p, 0)
}

// await waits for the first part that is left. If it is not there when all others have been for as long as they took,
// it is given up, but only once: most likely the first packet of its connection was lost, which takes a second to show.
// Less than leastPatience is no loss.
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
	patience := time.NewTimer(max(time.Since(j.start), leastPatience))
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
		if err := j.settle(p); err != nil {
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
		j.askAgain(p, err)
	}
	return 0, io.EOF
}

// close gives the connection of a part free. Nobody asks for the part any more.
func (p *part) close() {
	p.cancel()
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
