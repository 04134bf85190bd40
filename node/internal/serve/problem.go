package serve

import (
	"errors"
	"net/http"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/store"
)

// statuses maps the code of a problem to its HTTP status.
//
//nolint:gochecknoglobals // a table that is never changed
var statuses = map[string]int{
	protocol.CodeBadRequest:               http.StatusBadRequest,
	protocol.CodeUnsigned:                 http.StatusUnauthorized,
	protocol.CodeMalformed:                http.StatusBadRequest,
	string(channel.CodeWrongType):         http.StatusBadRequest,
	string(channel.CodeUnknownSchema):     http.StatusBadRequest,
	protocol.CodeUnsupportedMedia:         http.StatusUnsupportedMediaType,
	protocol.CodeNotFound:                 http.StatusNotFound,
	protocol.CodeUnknownApp:               http.StatusNotFound,
	protocol.CodeUnknownOrg:               http.StatusNotFound,
	protocol.CodeUnknownChannel:           http.StatusNotFound,
	protocol.CodeUnknownBundle:            http.StatusNotFound,
	protocol.CodeUnknownFile:              http.StatusNotFound,
	protocol.CodeUnknownChunk:             http.StatusNotFound,
	protocol.CodeUnknownUpload:            http.StatusNotFound,
	protocol.CodeMethodNotAllowed:         http.StatusMethodNotAllowed,
	protocol.CodeNotAcceptable:            http.StatusNotAcceptable,
	protocol.CodeRangeInvalid:             http.StatusRequestedRangeNotSatisfiable,
	protocol.CodeTooLarge:                 http.StatusRequestEntityTooLarge,
	protocol.CodeConflict:                 http.StatusPreconditionFailed,
	protocol.CodePreconditionFail:         http.StatusPreconditionFailed,
	protocol.CodePrecondition:             http.StatusPreconditionRequired,
	protocol.CodeIncomplete:               http.StatusConflict,
	string(channel.CodeSequenceNotHigher): http.StatusConflict,
	string(channel.CodeEquivocation):      http.StatusConflict,
	string(channel.CodeDowngrade):         http.StatusConflict,
	protocol.CodeMismatch:                 http.StatusUnprocessableEntity,
	protocol.CodeQuota:                    http.StatusInsufficientStorage,
	protocol.CodeReadOnly:                 http.StatusServiceUnavailable,
	protocol.CodeDamaged:                  http.StatusServiceUnavailable,
	protocol.CodeUnavailable:              http.StatusServiceUnavailable,
	protocol.CodeBusy:                     http.StatusTooManyRequests,
	protocol.CodeInternal:                 http.StatusInternalServerError,
}

// statusOf returns the status of a code. Codes of package channel that the table lacks are forbidden (403).
func statusOf(code string) int {
	if status, known := statuses[code]; known {
		return status
	}
	return http.StatusForbidden
}

// Problem returns an error that is answered with the code, its status, the message, and the hint if that is not empty.
func Problem(code, message, hint string) error {
	return &protocol.Problem{Status: statusOf(code), Code: code, Message: message, Hint: hint}
}

// AsProblem returns the problem of any error that a handler may return.
func AsProblem(err error) *protocol.Problem {
	if p, ok := errors.AsType[*protocol.Problem](err); ok {
		return p
	}
	if refused, ok := errors.AsType[*channel.RefusedError](err); ok {
		return &protocol.Problem{
			Status:  statusOf(string(refused.Code)),
			Code:    string(refused.Code),
			Message: refused.Reason,
			Hint:    refused.Hint,
		}
	}
	code, hint := protocol.CodeInternal, "the node's log has the details"
	switch {
	case errors.Is(err, store.ErrConflict):
		code, hint = protocol.CodeConflict, "someone else moved the channel: publish again, on top of theirs"
	case errors.Is(err, store.ErrQuota):
		code, hint = protocol.CodeQuota, "raise --quota, or publish smaller bundles"
	case errors.Is(err, store.ErrReadOnly):
		code, hint = protocol.CodeReadOnly, "free some disk space on the node; it then accepts writes again by itself"
	case errors.Is(err, store.ErrIncomplete):
		code, hint = protocol.CodeIncomplete, "send the chunks that are missing; publishing again does that"
	case errors.Is(err, store.ErrMissingBundle):
		code, hint = protocol.CodeIncomplete, "upload the bundle first, as publish does"
	case errors.Is(err, store.ErrNotFound):
		code, hint = protocol.CodeDamaged, "publish the bundle again: only missing chunks are sent"
	case errors.Is(err, store.ErrUnwanted):
		code, hint = protocol.CodeBadRequest, "send only the chunks that the answer to the offer names"
	case errors.Is(err, store.ErrMismatch), errors.Is(err, digest.ErrMismatch):
		code, hint = protocol.CodeMismatch, "the bytes were damaged in transit, or are not those that were signed"
	case errors.Is(err, bundle.ErrMalformed):
		code, hint = protocol.CodeMalformed, ""
	}
	return &protocol.Problem{Status: statusOf(code), Code: code, Message: err.Error(), Hint: hint}
}
