package serve

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/node/internal/wire"
	"brink/protocol"
)

// Representation is one way of sending something whose bytes never change.
type Representation struct {
	Coding semantics.Coding
	Digest digest.Digest // of the bytes as sent: the strong entity tag, which is the same on every node
	Size   int64         // of the bytes as sent
	Body   Body
	// Private is how many bytes of memory the answer holds for itself until it is sent; 0 for what is shared by all who
	// are sent it. Such an answer is always streamed, on the budget of answers.
	Private int64
}

// Body is where the bytes of a representation come from. Both methods return an error before the first byte if it is
// known by then that the bytes cannot be had.
type Body interface {
	// Whole returns the bytes in memory, to be given back. It may block until they are loaded, for everyone who waits
	// alike. It returns ErrCrowded if there is no room for them.
	Whole() (*Whole, error)
	// Stream returns a reader that holds little memory and may be told to seek. The caller closes it.
	Stream() (io.ReadSeekCloser, error)
}

// Whole is a representation in memory, in one of two forms. Give it back after use.
type Whole struct {
	Data  []byte     // to be read only
	Held  *wire.Held // nil: Data has it. Else there is an owner
	Owner Owner      // counts those who use it; nil: nobody has to
}

// Owner counts the uses of one [Whole], each of which ends once.
type Owner interface {
	// Release ends a use. It waits for nothing.
	Release()
	// Send returns the stream of a part, whose Close ends the use. The owner may end it earlier, by a write deadline of
	// the connection that has passed.
	Send(conn net.Conn, start, length int64) io.ReadCloser
}

// Release ends the use.
func (w *Whole) Release() {
	if w.Owner != nil {
		w.Owner.Release()
	}
}

// Size returns the size in bytes.
func (w *Whole) Size() int64 {
	if w.Held == nil {
		return int64(len(w.Data))
	}
	return w.Held.Size()
}

// Bytes returns the representation in one piece, to be read only.
func (w *Whole) Bytes() ([]byte, error) {
	if w.Held == nil {
		return w.Data, nil
	}
	return ReadAll(io.NopCloser(w.Held.Reader(nil, 0, w.Held.Size())), w.Held.Size())
}

// StreamMemory bounds, in bytes, what a stream of the store holds: a frame, and its plain bytes.
const StreamMemory = 2 * bundle.MaxChunk

// ReadAll reads size bytes, and closes r.
func ReadAll(r io.ReadCloser, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, errors.Join(err, r.Close())
}

// Memory is a Body that is in memory as it is.
type Memory []byte

// Whole implements [Body].
func (m Memory) Whole() (*Whole, error) { return &Whole{Data: m}, nil }

// Stream implements [Body].
func (m Memory) Stream() (io.ReadSeekCloser, error) { return NopCloser{bytes.NewReader(m)}, nil }

// NopCloser is a reader whose Close does nothing.
type NopCloser struct {
	*bytes.Reader
}

// Close implements [io.Closer].
func (NopCloser) Close() error { return nil }

// Headers are the fields that all representations of one thing have in common.
type Headers struct {
	ContentType string
	Vary        string
	Cache       string // Cache-Control
}

// Sender sends representations.
type Sender struct {
	Answers *Budget // of what answers hold for themselves
	Streams *Budget // of what streams of representations hold that memory has no room for
	// Largest is the size in bytes up to which a representation is sent from memory, and not as a stream.
	Largest int64
	// Guard returns what do returns, or an error if it panics: the server reads streams outside of any handler.
	Guard func(do func() error) error
}

// appendTag appends the entity tag with its quotes.
func (rep *Representation) appendTag(b []byte) []byte {
	return append(hex.AppendEncode(append(b, '"'), rep.Digest[:]), '"')
}

// Send answers with a representation: the whole, a part, or nothing (RFC 9110, sections 13 and 14).
func (s *Sender) Send(r *Request, headers Headers, rep Representation) error {
	h := &r.Response.Header
	in := &r.Request.Header
	tag := rep.appendTag(make([]byte, 0, digest.TextSize+2))
	answer := semantics.Conditions{
		Head:        r.IsHead(),
		IfMatch:     field(in, fasthttp.HeaderIfMatch),
		IfNoneMatch: field(in, fasthttp.HeaderIfNoneMatch),
		IfRange:     field(in, fasthttp.HeaderIfRange),
		Range:       field(in, fasthttp.HeaderRange),
	}.Evaluate(tag, rep.Size)
	h.Set(fasthttp.HeaderVary, headers.Vary)
	switch answer.Status {
	case fasthttp.StatusPreconditionFailed:
		return Problem(protocol.CodePreconditionFail, "it is not what If-Match names", "")
	case fasthttp.StatusRequestedRangeNotSatisfiable:
		h.SetBytesV(fasthttp.HeaderContentRange, answer.AppendContentRange(nil))
		return Problem(protocol.CodeRangeInvalid, "the range lies behind the end",
			"it has "+strconv.FormatInt(rep.Size, 10)+" bytes in this encoding")
	}
	h.SetBytesV(fasthttp.HeaderETag, tag)
	h.Set(fasthttp.HeaderCacheControl, headers.Cache)
	if answer.Status == fasthttp.StatusNotModified {
		r.SetStatusCode(answer.Status)
		return nil
	}
	r.SetContentType(headers.ContentType)
	h.Set("X-Content-Type-Options", "nosniff") // https://fetch.spec.whatwg.org/#x-content-type-options-header
	h.Set(fasthttp.HeaderAcceptRanges, "bytes")
	if rep.Coding != semantics.Identity {
		h.Set(fasthttp.HeaderContentEncoding, rep.Coding.String())
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
	return s.send(r, rep, answer)
}

// SendSigned answers with signed bytes that another version can replace: they may be kept, but are asked for each time.
func (s *Sender) SendSigned(r *Request, raw []byte, name digest.Digest) error {
	return s.Send(
		r,
		Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheChecked},
		Representation{Digest: name, Size: int64(len(raw)), Body: Memory(raw)},
	)
}

// send hands the span of a representation to the server: from memory when it is small enough to be held there and there
// is room, as a stream with little memory otherwise.
func (s *Sender) send(r *Request, rep Representation, answer semantics.Answer) error {
	if rep.Private == 0 && rep.Size <= s.Largest {
		whole, err := rep.Body.Whole()
		switch {
		case errors.Is(err, ErrCrowded): // there is no room: as a stream
		case err != nil:
			return err
		case whole.Owner != nil:
			r.Response.ImmediateHeaderFlush = whole.Held != nil // it does not go through the server's buffer
			r.SetBodyStream(whole.Owner.Send(r.Conn(), answer.Start, answer.Length), int(answer.Length))
			return nil
		default:
			r.Response.SetBodyRaw(whole.Data[answer.Start : answer.Start+answer.Length])
			return nil
		}
	}
	stream, err := rep.Body.Stream()
	if err != nil {
		return err
	}
	if _, err := stream.Seek(answer.Start, io.SeekStart); err != nil {
		return errors.Join(err, stream.Close())
	}
	// An error on the way closes the connection before Content-Length is reached: the client sees that it was cut.
	part := &span{guard: s.Guard, stream: stream, left: answer.Length}
	if rep.Private == 0 {
		return borrow(s.Streams, r, part, int(answer.Length), min(StreamMemory, 2*rep.Size))
	}
	return s.Stream(r, part, int(answer.Length), rep.Private)
}

// Stream answers with a stream that holds private bytes of memory until it is closed, at the cost of an answer that has
// not been read for long if need be. A length of -1 is unknown. The stream is closed whatever happens.
func (s *Sender) Stream(r *Request, stream io.ReadCloser, length int, private int64) error {
	return borrow(s.Answers, r, stream, length, private)
}

// borrow is Stream on a budget.
func borrow(from *Budget, r *Request, stream io.ReadCloser, length int, private int64) error {
	conn := r.Conn()
	loan := from.Open(r.Address(), func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) }) // or it has ended
	if err := loan.Grow(private); err != nil {
		loan.Close()
		return errors.Join(err, stream.Close())
	}
	r.SetBodyStream(onLoan{stream, loan}, length)
	return nil
}

// onLoan is the stream of an answer, which gives back what it holds when it is closed.
type onLoan struct {
	io.ReadCloser

	loan *Loan
}

// Close implements [io.Closer].
func (o onLoan) Close() error {
	o.loan.Close()
	return o.ReadCloser.Close()
}

// span reads so many bytes of a stream, and closes it. It is read after the handler has returned, where nothing else
// stops a panic.
type span struct {
	guard  func(do func() error) error
	stream io.ReadSeekCloser
	left   int64
}

func (s *span) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := 0
	err := s.guard(func() (err error) {
		n, err = s.stream.Read(p[:min(int64(len(p)), s.left)])
		return err
	})
	s.left -= int64(n)
	return n, err
}

func (s *span) Close() error { return s.stream.Close() }
