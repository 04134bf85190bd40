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

// FreeBody is the size in bytes up to which a body is held outside of the budget. A connection costs more than that.
const FreeBody = 4 << 10

// Body returns a reader of the request's body, as sent. It is valid until the handler returns.
func (r *Request) Body() io.Reader {
	if stream := r.RequestBodyStream(); stream != nil {
		return stream
	}
	return bytes.NewReader(r.PostBody())
}

// RefuseEncoded returns an error if the body has a coding. A body that is small gains little by one, and whoever reads
// it would have two lengths to bound, and a decoder to hold, before anything is known of its sender.
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

// ReadBodyInto is ReadBody into the memory of b, as far as that is large enough.
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

// ReadJSON reads a body of at most limit bytes into what. Unknown fields are ignored: a newer client may say more.
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
		return Problem(protocol.CodeBadRequest, "the body is not the JSON that is expected: "+err.Error(),
			"see docs/protocol.md")
	}
	return nil
}

// borrow opens a loan that ends with the request. When it has to be given up, the request's body ends.
func (r *Request) borrow(from *Budget, account string) *Loan {
	conn := r.Conn()
	l := from.Open(account, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // a socket that is closed has ended
	r.loans = append(r.loans, l)
	return l
}

// Release gives back what the request has borrowed.
func (r *Request) Release() {
	for _, l := range r.loans {
		l.Close()
	}
	r.loans = nil
}

// Incoming reads what a client sends, and borrows the memory for it as it arrives: what a client only announces costs
// nothing. The loan ends with the request. Errors are problems.
type Incoming struct {
	Request *Request
	Source  io.Reader
	Budget  *Budget // nil: that of the request
	Account string  // empty: the client's address
	Free    int64   // bytes that need no loan

	loan *Loan // nil: none yet
}

// Read appends to b what the source has, and stops after more than limit bytes.
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
			return b, in.Broken(err)
		}
	}
	return b, in.Keep()
}

// Reserve makes sure that so many bytes in all may be held.
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

// Keep ends the wait for the client: what was reserved stays until the request ends. It returns an error if it was
// given up before.
func (in *Incoming) Keep() error {
	if in.loan != nil && !in.loan.Keep() {
		return ErrCrowded
	}
	return nil
}

// Broken returns why a body ended early.
func (in *Incoming) Broken(err error) error {
	if lost := in.Keep(); lost != nil {
		return lost
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Problem(protocol.CodeBadRequest, "the body arrived too slowly", "")
	}
	return Problem(protocol.CodeBadRequest, "the body could not be read: "+err.Error(), "")
}
