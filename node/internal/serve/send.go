package serve

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/valyala/fasthttp"

	"brink/bundle"
	"brink/digest"
	"brink/node/internal/semantics"
	"brink/node/internal/wire"
	"brink/protocol"
)

// Representation is one encoding of content that never changes.
type Representation struct {
	Coding semantics.Coding
	Digest digest.Digest // of the bytes as sent: the strong entity tag, which is the same on every node
	Size   int64         // of the bytes as sent
	Body   Body
	// Private is how many bytes of memory the answer alone occupies until it is sent; 0 if all answers share them. An
	// answer with private memory is always streamed, on the budget of answers.
	Private int64
}

// Body is the source of the bytes of a representation. Both methods return an error if it is known before the first
// byte that the bytes cannot be read.
type Body interface {
	// Whole returns the bytes in memory, which the caller releases. It may block until they are loaded, once for all
	// callers. It returns ErrNoMemory if there is no room for them.
	Whole() (*Whole, error)
	// Stream returns a reader that needs little memory. The caller closes it.
	Stream() (io.ReadSeekCloser, error)
}

// Whole is a representation in memory, in one of two forms. Release it after use.
type Whole struct {
	Data  []byte     // must not be changed
	Held  *wire.Held // nil: the bytes are in Data; otherwise Owner is set
	Owner Owner      // counts the users; nil: they need not be counted
}

// Owner counts the uses of one [Whole]. Each use ends once, by Release or by closing the stream of Send.
type Owner interface {
	// Release ends a use. It does not block.
	Release()
	// Send returns a stream of part of the bytes, whose Close ends the use. The owner may cut it earlier, by wire.Abort.
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

// Bytes returns the representation in one piece. The caller must not change it.
func (w *Whole) Bytes() ([]byte, error) {
	if w.Held == nil {
		return w.Data, nil
	}
	return ReadAll(io.NopCloser(w.Held.Reader(nil, 0, w.Held.Size())), w.Held.Size())
}

// StreamMemory bounds the memory in bytes that a stream of the store needs: a frame, and its plain bytes.
const StreamMemory = 2 * bundle.MaxChunk

// ReadAll reads size bytes, and closes r.
func ReadAll(r io.ReadCloser, size int64) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(r, data)
	return data, errors.Join(err, r.Close())
}

// Memory is a Body that is already in memory.
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

// Headers are the fields that all representations of a resource have in common.
type Headers struct {
	ContentType string
	Vary        string
	Cache       string // Cache-Control
}

// Sender sends representations.
type Sender struct {
	Answers *Budget // of the private memory of answers
	Streams *Budget // of streams of representations that do not fit into memory
	// Largest is the size in bytes up to which a representation is sent from memory, and not as a stream.
	Largest int64
	// Guard returns the result of do, or an error if it panics: the server reads streams outside of any handler.
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
		return Problem(protocol.CodePreconditionFail, "the current entity tag does not match If-Match", "")
	case fasthttp.StatusRequestedRangeNotSatisfiable:
		h.SetBytesV(fasthttp.HeaderContentRange, answer.AppendContentRange(nil))
		return Problem(protocol.CodeRangeInvalid, "the range is beyond the end",
			"the size is "+strconv.FormatInt(rep.Size, 10)+" bytes in this encoding")
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

// SendSigned answers with signed bytes that a later version may replace: clients may cache them, but must revalidate.
func (s *Sender) SendSigned(r *Request, raw []byte, name digest.Digest) error {
	return s.Send(
		r,
		Headers{ContentType: "application/json", Vary: semantics.VaryCoding, Cache: semantics.CacheChecked},
		Representation{Digest: name, Size: int64(len(raw)), Body: Memory(raw)},
	)
}

// send passes the requested part of a representation to the server: from memory if it is small enough and there is
// room, otherwise as a stream.
func (s *Sender) send(r *Request, rep Representation, answer semantics.Answer) error {
	if rep.Private == 0 && rep.Size <= s.Largest {
		whole, err := rep.Body.Whole()
		switch {
		case errors.Is(err, ErrNoMemory): // as a stream
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
	part := &span{guard: s.Guard, stream: stream, left: answer.Length}
	if rep.Private == 0 {
		return borrow(s.Streams, r, part, int(answer.Length), min(StreamMemory, 2*rep.Size))
	}
	return s.Stream(r, part, int(answer.Length), rep.Private)
}

// Stream answers with a stream that occupies private bytes of memory until it is closed. A slow answer may be cut to
// free them. A length of -1 means unknown. The stream is always closed.
func (s *Sender) Stream(r *Request, stream io.ReadCloser, length int, private int64) error {
	return borrow(s.Answers, r, stream, length, private)
}

// borrow is Stream with a choice of budgets.
func borrow(from *Budget, r *Request, stream io.ReadCloser, length int, private int64) error {
	conn := r.Conn()
	loan := from.Open(r.Address(), func() { wire.Abort(conn) })
	if err := loan.Grow(private); err != nil {
		loan.Close()
		return errors.Join(err, stream.Close())
	}
	r.SetBodyStream(onLoan{stream, loan, conn}, length)
	return nil
}

// onLoan is the stream of an answer, which closes its loan when it is closed. An error while streaming aborts the
// connection, so that the client sees that the answer was cut.
type onLoan struct {
	io.ReadCloser

	loan *Loan
	conn net.Conn
}

// Read implements [io.Reader].
func (o onLoan) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		wire.Abort(o.conn)
	}
	return n, err
}

// Close implements [io.Closer].
func (o onLoan) Close() error {
	o.loan.Close()
	return o.ReadCloser.Close()
}

// span reads part of a stream, and closes it. The server reads it after the handler has returned, where nothing else
// recovers from a panic.
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
