package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"brink/protocol"
)

// maxBodies bounds, in bytes, the bodies of all requests of which nothing is known yet but that they may have a body.
const maxBodies = 64 << 20

// freeBody is the size in bytes up to which a body is held outside of the budget. A connection costs more than that.
const freeBody = 4 << 10

// body returns a reader of the request's body, as sent. It is valid until the handler returns.
func (r *request) body() io.Reader {
	if stream := r.RequestBodyStream(); stream != nil {
		return stream
	}
	return bytes.NewReader(r.PostBody())
}

// plain refuses a body that has a coding. A body that is small gains little by one, and whoever reads it would have two
// lengths to bound, and a decoder to hold, before anything is known of who sends it.
func (r *request) plain() error {
	switch coding := string(r.Request.Header.ContentEncoding()); coding {
	case "", "identity":
		return nil
	default:
		return problem(protocol.CodeUnsupportedMedia, fmt.Sprintf("a body in %q is not taken", coding), "send it plain")
	}
}

// readAll returns the whole body if it has at most limit bytes.
func (r *request) readAll(limit int64) ([]byte, error) { return r.readInto(nil, limit) }

// readInto is readAll into the memory of b, as far as that is large enough.
func (r *request) readInto(b []byte, limit int64) ([]byte, error) {
	if err := r.plain(); err != nil {
		return b, err
	}
	in := incoming{request: r, source: r.body(), budget: r.bodies, free: freeBody}
	b, err := in.read(b[:0], limit)
	if err == nil && int64(len(b)) > limit {
		err = problem(protocol.CodeTooLarge, fmt.Sprintf("the body has more than %d bytes", limit), "")
	}
	return b, err
}

// address is the account of a client of which nothing else is known.
func (r *request) address() string { return r.RemoteIP().String() }

// borrow opens a loan that ends with the request. When it has to be given up, the request's body ends.
func (r *request) borrow(from *budget, account string) *loan {
	conn := r.Conn()
	l := from.open(account, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // a socket that is closed has ended
	r.loans = append(r.loans, l)
	return l
}

// release closes what the request has borrowed.
func (r *request) release() {
	for _, l := range r.loans {
		l.close()
	}
	r.loans = nil
}

// incoming reads what a client sends, and borrows the memory for it as it comes: what a client only announces costs
// nothing.
type incoming struct {
	request *request
	source  io.Reader
	budget  *budget
	account string // empty: the client's address
	free    int64  // bytes that need no loan
	loan    *loan  // nil: none yet
}

// read appends to b what source has, and stops after more than limit bytes. Errors are problems.
func (in *incoming) read(b []byte, limit int64) ([]byte, error) {
	for int64(len(b)) <= limit {
		if len(b) == cap(b) {
			more := min(max(int64(2*cap(b)), 512), limit+1) - int64(cap(b))
			if err := in.room(int64(cap(b)) + more); err != nil {
				return b, err
			}
			b = slices.Grow(b, int(more))[: len(b) : int64(cap(b))+more]
		}
		n, err := in.source.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return b, in.broken(err)
		}
	}
	if in.loan != nil && !in.loan.keep() {
		return b, errCrowded
	}
	return b, nil
}

// room makes sure that so many bytes in all may be held.
func (in *incoming) room(bytes int64) error {
	if in.loan == nil {
		if bytes <= in.free {
			return nil
		}
		if in.account == "" {
			in.account = in.request.address()
		}
		in.loan = in.request.borrow(in.budget, in.account)
	}
	return in.loan.grow(bytes - in.loan.held)
}

// broken says why a body ended early.
func (in *incoming) broken(err error) error {
	switch {
	case in.loan != nil && !in.loan.keep():
		return errCrowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem(protocol.CodeBadRequest, "the body came too slowly", "")
	}
	return problem(protocol.CodeBadRequest, "the body could not be read: "+err.Error(), "")
}

// readJSON reads a body of at most limit bytes into what. Unknown fields are let pass: a newer client may say more.
func (r *request) readJSON(limit int64, what any) error {
	raw, err := r.readAll(limit)
	if err != nil {
		return err
	}
	return parseJSON(raw, what)
}

func parseJSON(raw []byte, what any) error {
	if err := json.Unmarshal(raw, what); err != nil {
		return problem(protocol.CodeBadRequest, "the body is not the JSON that is wanted here: "+err.Error(),
			"see docs/protocol.md")
	}
	return nil
}

// writeJSON answers with what as JSON, not to be cached.
func (r *request) writeJSON(status int, what any) error {
	raw, err := json.Marshal(what)
	if err != nil {
		return err
	}
	r.SetStatusCode(status)
	r.SetContentType("application/json")
	r.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	r.Response.SetBodyRaw(append(raw, '\n'))
	return nil
}
