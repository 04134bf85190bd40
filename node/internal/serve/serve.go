// Package serve provides HTTP to the other packages of a node: requests, routes, problems, and the sending of
// representations.
//
// The life of one request: fasthttp has read its head. [Table.Dispatch] finds the route by the path and calls its
// [Handler] with a [Request]. The handler may read the body, within a limit and on a [Budget]. It answers with JSON, or
// with a [Representation], of which [Sender.Send] sends the whole, a part or nothing. If the handler returns an error,
// the answer is a problem, and one table maps its code to the status.
//
// The invariants: memory that a client can occupy by being slow is counted against a budget; a handler that returns an
// error has written nothing.
package serve

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/valyala/fasthttp"

	"brink/digest"
	"brink/node/internal/semantics"
	"brink/protocol"
)

// Request is one request and its answer. It is valid until its handler returns.
type Request struct {
	*fasthttp.RequestCtx

	Names [3]string // the values of the names in the pattern, unescaped, in their order
	Label Label     // of the route

	accept semantics.Accept
	parsed bool // whether accept is set
	bodies *Budget
	loans  []*Loan // that end with the request
}

// NewRequest returns the request of ctx, whose body counts against the budget. Release it once the handler has
// returned.
func NewRequest(ctx *fasthttp.RequestCtx, bodies *Budget) *Request {
	return &Request{RequestCtx: ctx, bodies: bodies}
}

// Address returns the IP address of the client. It is the account of clients that are not identified otherwise.
func (r *Request) Address() string { return r.RemoteIP().String() }

// Authorization returns the request's Authorization field.
func (r *Request) Authorization() string {
	return string(r.Request.Header.Peek(fasthttp.HeaderAuthorization))
}

// Digest returns the first name of the path as a digest.
func (r *Request) Digest() (digest.Digest, error) {
	d, err := digest.Parse(r.Names[0])
	if err != nil {
		return d, Problem(protocol.CodeBadRequest, err.Error(), "")
	}
	return d, nil
}

// Accept returns the encodings that the client accepts.
func (r *Request) Accept() semantics.Accept {
	if !r.parsed {
		r.accept, r.parsed = semantics.ParseAccept(field(&r.Request.Header, fasthttp.HeaderAcceptEncoding)), true
	}
	return r.accept
}

// WriteJSON answers with what encoded as JSON, which must not be cached.
func (r *Request) WriteJSON(status int, what any) error {
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

// Fail answers with the problem of an error, and returns it. Internal errors are logged under the name of the route,
// and not shown to clients.
func (r *Request) Fail(err error, route string, log *slog.Logger) *protocol.Problem {
	p := *AsProblem(err)
	if p.Code == protocol.CodeInternal {
		log.Error("request failed", "route", route, "path", string(r.URI().PathOriginal()), "error", err)
		p.Message = "the node failed to answer"
	}
	r.Response.ResetBody()
	h := &r.Response.Header
	h.Del(fasthttp.HeaderContentEncoding)
	h.Del(fasthttp.HeaderETag)
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		h.Set(fasthttp.HeaderRetryAfter, "5")
	}
	body, err := json.Marshal(&p)
	if err != nil {
		panic("serve: encode problem: " + err.Error()) // three strings always encode
	}
	r.SetStatusCode(p.Status)
	r.SetContentType("application/json")
	r.SetBody(append(body, '\n'))
	return &p
}

// field returns the value of a request field that may have several lines, or nil if it is absent.
func field(h *fasthttp.RequestHeader, name string) []byte {
	if one := h.Peek(name); one != nil {
		if lines := h.PeekAll(name); len(lines) > 1 {
			return semantics.Join(lines)
		}
		return one
	}
	return nil
}
