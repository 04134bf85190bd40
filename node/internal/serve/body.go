package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"brink/protocol"
)

// FreeBody is the size in bytes up to which a body does not count against the budget. A connection costs more than
// that.
const FreeBody = 4 << 10

// Body returns a reader of the request's body, as sent. It is valid until the handler returns.
func (r *Request) Body() io.Reader {
	if stream := r.RequestBodyStream(); stream != nil {
		return stream
	}
	return bytes.NewReader(r.PostBody())
}

// RefuseEncoded returns an error if the body has a content coding. Small bodies gain little by one, and reading it
// would take a second bound on the length, and a decoder, before anything is known about the sender.
func (r *Request) RefuseEncoded() error {
	switch coding := string(r.Request.Header.ContentEncoding()); coding {
	case "", "identity":
		return nil
	default:
		return Problem(protocol.CodeUnsupportedMedia, fmt.Sprintf("the body is encoded with %q", coding),
			"send it without Content-Encoding")
	}
}

// ReadBody returns the whole body if it has at most limit bytes.
func (r *Request) ReadBody(limit int64) ([]byte, error) { return r.ReadBodyInto(nil, limit) }

// ReadBodyInto is ReadBody into the memory of b, if that is large enough.
func (r *Request) ReadBodyInto(b []byte, limit int64) ([]byte, error) {
	if err := r.RefuseEncoded(); err != nil {
		return b, err
	}
	in := Incoming{Request: r, Source: r.Body(), Budget: r.bodies, Free: FreeBody}
	b, err := in.Read(b[:0], limit)
	if err == nil && int64(len(b)) > limit {
		err = Problem(protocol.CodeTooLarge, fmt.Sprintf("the body has more than %d bytes", limit), "")
	}
	return b, err
}

// ReadJSON decodes a body of at most limit bytes into what. It ignores unknown fields, which a newer client may send.
func (r *Request) ReadJSON(limit int64, what any) error {
	raw, err := r.ReadBody(limit)
	if err != nil {
		return err
	}
	return ParseJSON(raw, what)
}

// ParseJSON parses a body into what.
func ParseJSON(raw []byte, what any) error {
	if err := json.Unmarshal(raw, what); err != nil {
		return Problem(protocol.CodeBadRequest, "the body is not the expected JSON: "+err.Error(),
			"see docs/protocol.md")
	}
	return nil
}

// borrow opens a loan that ends with the request. If the loan is revoked, reading the request's body fails.
func (r *Request) borrow(from *Budget, account string) *Loan {
	conn := r.Conn()
	l := from.Open(account, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // an error: the socket is closed
	r.loans = append(r.loans, l)
	return l
}

// Release closes the loans of the request.
func (r *Request) Release() {
	for _, l := range r.loans {
		l.Close()
	}
	r.loans = nil
}

// Incoming reads what a client sends, and borrows memory for the bytes that have arrived, not for those that are only
// announced. The loan ends with the request. Errors are problems.
type Incoming struct {
	Request *Request
	Source  io.Reader
	Budget  *Budget // nil: that of the request
	Account string  // empty: the client's address
	Free    int64   // bytes that need no loan

	loan *Loan // nil: not open yet
}

// Read appends the bytes of the source to b, up to limit+1 of them.
func (in *Incoming) Read(b []byte, limit int64) ([]byte, error) {
	for int64(len(b)) <= limit {
		if len(b) == cap(b) {
			more := min(max(int64(2*cap(b)), 512), limit+1) - int64(cap(b))
			if err := in.Reserve(int64(cap(b)) + more); err != nil {
				return b, err
			}
			b = slices.Grow(b, int(more))[: len(b) : int64(cap(b))+more]
		}
		n, err := in.Source.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, in.ReadError(err)
		}
	}
	return b, in.Pin()
}

// Reserve extends the loan to bytes in total.
func (in *Incoming) Reserve(bytes int64) error {
	if in.loan == nil {
		if bytes <= in.Free {
			return nil
		}
		if in.Account == "" {
			in.Account = in.Request.Address()
		}
		if in.Budget == nil {
			in.Budget = in.Request.bodies
		}
		in.loan = in.Request.borrow(in.Budget, in.Account)
	}
	return in.loan.Grow(bytes - in.loan.held)
}

// Extend reserves n more bytes than before.
func (in *Incoming) Extend(n int64) error {
	if in.loan == nil {
		return in.Reserve(n)
	}
	return in.loan.Grow(n)
}

// Pin keeps the loan from being revoked until the request ends, since the client is no longer waited for. It returns an
// error if it has been revoked.
func (in *Incoming) Pin() error {
	if in.loan != nil && !in.loan.Pin() {
		return ErrNoMemory
	}
	return nil
}

// ReadError returns the problem for an error of reading a body.
func (in *Incoming) ReadError(err error) error {
	if revoked := in.Pin(); revoked != nil {
		return revoked
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Problem(protocol.CodeBadRequest, "the body arrived too slowly", "")
	}
	return Problem(protocol.CodeBadRequest, "the body could not be read: "+err.Error(), "")
}
