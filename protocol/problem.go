package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// The codes of a [Problem], besides those of package channel. They are stable; docs/protocol.md says when each is used.
const (
	CodeBadRequest       = "bad_request"
	CodeNotFound         = "not_found"          // no such path
	CodeUnknownApp       = "unknown_app"        // no org of this node claims the app
	CodeUnknownOrg       = "unknown_org"        // the node has no trust document of the org
	CodeUnknownChannel   = "unknown_channel"    // nothing was published to the channel yet
	CodeUnknownBundle    = "unknown_bundle"     // the node does not have the bundle
	CodeUnknownFile      = "unknown_file"       // the bundle has no such file
	CodeUnknownChunk     = "unknown_chunk"      // the node does not have the chunk
	CodeUnknownUpload    = "unknown_upload"     // the upload has ended, or was not started on this node
	CodeMethodNotAllowed = "method_not_allowed" // see the Allow field
	CodeNotAcceptable    = "not_acceptable"     // the client accepts none of the encodings
	CodeRangeInvalid     = "range_not_satisfiable"
	CodeTooLarge         = "too_large"
	CodeConflict         = "conflict"              // the channel was moved by someone else
	CodePrecondition     = "precondition_required" // a channel can only be moved with If-Match or If-None-Match
	CodePreconditionFail = "precondition_failed"
	CodeIncomplete       = "bundle_incomplete"    // chunks are still missing
	CodeMismatch         = "digest_mismatch"      // bytes do not have the expected digest
	CodeMalformed        = "malformed"            // bytes are in the wrong form
	CodeQuota            = "quota_exceeded"       // the store has no room for it
	CodeDamaged          = "bundle_damaged"       // this node has lost bytes of it; it never serves wrong ones
	CodeReadOnly         = "read_only"            // the node accepts no writes, for example because its disk is full
	CodeUnsigned         = "unsigned"             // only nodes of the same fleet may request this
	CodeForeign          = "foreign_request"      // to the operators' listener: it may come from a foreign web page
	CodeUnavailable      = "unavailable"          // the node is starting or stopping
	CodeBusy             = "busy"                 // too many uploads at once
	CodeInternal         = "internal_error"       // a fault of the node
	CodeUnexpected       = "unexpected_answer"    // not sent by a node, but made by ReadProblem
	CodeUnsupportedMedia = "unsupported_encoding" // of a request's body
)

// Problem is the body of every error response. It is an error.
type Problem struct {
	Status  int    `json:"-"`    // HTTP status code
	Code    string `json:"code"` // for programs: stable
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// Error returns the message with code and status. Callers that can show more should also show the hint.
func (p *Problem) Error() string { return fmt.Sprintf("%s (%s, HTTP %d)", p.Message, p.Code, p.Status) }

// Final reports whether the same request would get the same answer again.
func (p *Problem) Final() bool {
	if p.Code == CodeQuota || p.Code == CodeReadOnly {
		return true // it does not resolve itself within a minute
	}
	return p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests &&
		p.Code != CodeIncomplete && p.Code != CodeUnknownUpload
}

// ReadProblem returns the Problem in the body of an error response. For a body that no node wrote it returns one with
// [CodeUnexpected].
func ReadProblem(status int, body []byte) *Problem {
	p := &Problem{}
	if json.Unmarshal(body, p) != nil || p.Code == "" {
		return unexpected(status)
	}
	p.Status = status
	return p
}

// unexpected returns the Problem for a response that no node wrote. Its hint says what proxies mean by the status.
func unexpected(status int) *Problem {
	p := &Problem{
		Status: status, Code: CodeUnexpected,
		Message: fmt.Sprintf("the answer is %d %s, and does not come from a node", status, http.StatusText(status)),
		Hint:    "is this the address of a Brink node?",
	}
	switch status {
	case http.StatusRequestEntityTooLarge:
		p.Hint = "a proxy in front of the node refuses request bodies of this size: raise its limit " +
			"(nginx: client_max_body_size 0)"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		p.Hint = "a proxy in front of the node could not reach it: is the node running?"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		p.Hint = "a proxy or firewall in front of the node refuses the request"
	}
	return p
}

// CodeOf returns the code of the [*Problem] that err is or wraps, and "" if there is none.
func CodeOf(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code
	}
	return ""
}
