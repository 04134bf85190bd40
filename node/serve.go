package node

import (
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/node/semantics"
	"brink/protocol"
)

// representation is one way of sending something whose bytes never change.
type representation struct {
	coding semantics.Coding
	name   digest.Digest // of the bytes as sent: the strong entity tag, which is the same on every node
	size   int64         // bytes as sent
	body   body
	// held is how many bytes of memory the answer holds for itself until it is taken; 0 for what is shared by all who
	// are sent it. It is always streamed, on the budget of answers.
	held int64
}

// maxAnswers bounds, in bytes, what all answers hold for themselves.
const maxAnswers = 64 << 20

// streamMemory bounds, in bytes, what a reader of the store holds: a frame, and its plain bytes.
const streamMemory = 2 * bundle.MaxChunk

// hold takes bytes for an answer, at the cost of another that has not been taken for long if need be. Close the loan.
func (n *Node) hold(r *request, bytes int64) (*loan, error) {
	conn := r.Conn()
	l := n.answers.open(r.address(), func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) }) // or it has ended
	if err := l.grow(bytes); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// onLoan is the stream of an answer, which gives back what it holds when it is closed.
type onLoan struct {
	io.ReadCloser

	loan *loan
}

// Close implements [io.Closer].
func (o onLoan) Close() error {
	o.loan.close()
	return o.ReadCloser.Close()
}

// appendTag appends the entity tag with its quotes.
func (rep *representation) appendTag(b []byte) []byte {
	return append(hex.AppendEncode(append(b, '"'), rep.name[:]), '"')
}

// body is where the bytes of a representation come from.
//
// whole returns them in RAM; it may block until they are loaded, for everyone who waits alike.
// stream returns a reader that holds little memory and may be told to seek; it is closed after use. Both return an
// error before the first byte if it is known by then that the bytes can not be had.
type body interface {
	whole() (*held, error)
	stream() (io.ReadSeekCloser, error)
}

// served is what all representations of one thing have in common.
type served struct {
	contentType string
	vary        string
	cache       string
}

// serve answers with a representation: the whole, a part, or nothing (RFC 9110, sections 13 and 14).
func (n *Node) serve(r *request, s served, rep representation) error {
	h := &r.Response.Header
	in := &r.Request.Header
	tag := rep.appendTag(make([]byte, 0, digest.TextSize+2))
	answer := semantics.Conditions{
		Head:        r.IsHead(),
		IfMatch:     field(in, fasthttp.HeaderIfMatch),
		IfNoneMatch: field(in, fasthttp.HeaderIfNoneMatch),
		IfRange:     field(in, fasthttp.HeaderIfRange),
		Range:       field(in, fasthttp.HeaderRange),
	}.Evaluate(tag, rep.size)
	h.Set(fasthttp.HeaderVary, s.vary)
	switch answer.Status {
	case fasthttp.StatusPreconditionFailed:
		return problem(protocol.CodePreconditionFail, "it is not what If-Match names", "")
	case fasthttp.StatusRequestedRangeNotSatisfiable:
		h.SetBytesV(fasthttp.HeaderContentRange, answer.AppendContentRange(nil))
		return problem(protocol.CodeRangeInvalid, "the range lies behind the end",
			"it has "+strconv.FormatInt(rep.size, 10)+" bytes in this encoding")
	}
	h.SetBytesV(fasthttp.HeaderETag, tag)
	h.Set(fasthttp.HeaderCacheControl, s.cache)
	if answer.Status == fasthttp.StatusNotModified {
		r.SetStatusCode(answer.Status)
		return nil
	}
	r.SetContentType(s.contentType)
	h.Set("X-Content-Type-Options", "nosniff") // https://fetch.spec.whatwg.org/#x-content-type-options-header
	h.Set(fasthttp.HeaderAcceptRanges, "bytes")
	if rep.coding != semantics.Identity {
		h.Set(fasthttp.HeaderContentEncoding, rep.coding.String())
	}
	if answer.Status == fasthttp.StatusPartialContent {
		h.SetBytesV(fasthttp.HeaderContentRange, answer.AppendContentRange(nil))
	}
	r.SetStatusCode(answer.Status)
	if r.IsHead() {
		// fasthttp takes the length of a HEAD answer from the body that would have been sent.
		r.Response.SkipBody = true
		h.SetContentLength(int(answer.Length))
		return nil
	}
	return n.send(r, rep, answer)
}

// send hands the span of a representation to the server: from RAM when it is small enough to be held there, as a
// stream with little memory otherwise.
func (n *Node) send(r *request, rep representation, answer semantics.Answer) error {
	if rep.held == 0 && rep.size <= n.hot.largest() {
		whole, err := rep.body.whole()
		if err != nil {
			return err
		}
		if whole.direct != nil {
			r.Response.ImmediateHeaderFlush = true // what follows does not go through the server's buffer
			r.SetBodyStream(whole.direct.Reader(r.Conn(), answer.Start, answer.Length), int(answer.Length))
			return nil
		}
		r.Response.SetBodyRaw(whole.data[answer.Start : answer.Start+answer.Length])
		return nil
	}
	stream, err := rep.body.stream()
	if err != nil {
		return err
	}
	if _, err := stream.Seek(answer.Start, io.SeekStart); err != nil {
		return errors.Join(err, stream.Close())
	}
	// An error on the way closes the connection before Content-Length is reached: the client sees that it was cut.
	part := &span{node: n, stream: stream, left: answer.Length}
	if rep.held == 0 {
		r.SetBodyStream(part, int(answer.Length))
		return nil
	}
	loan, err := n.hold(r, rep.held)
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	r.SetBodyStream(onLoan{part, loan}, int(answer.Length))
	return nil
}

// span reads so many bytes of a stream, and closes it. It is read after the handler has returned, where nothing else
// stops a panic.
type span struct {
	node   *Node
	stream io.ReadSeekCloser
	left   int64
}

func (s *span) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := 0
	err := s.node.guard(func() (err error) {
		n, err = s.stream.Read(p[:min(int64(len(p)), s.left)])
		return err
	})
	s.left -= int64(n)
	return n, err
}

func (s *span) Close() error { return s.stream.Close() }

// field returns the value of a request field that may come in several lines, nil when it is not there.
func field(h *fasthttp.RequestHeader, name string) []byte {
	if one := h.Peek(name); one != nil {
		if lines := h.PeekAll(name); len(lines) > 1 {
			return semantics.Join(lines)
		}
		return one
	}
	return nil
}
