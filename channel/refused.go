package channel

import (
	"errors"
	"fmt"
	"strings"
)

// Code is the reason why something was refused. Codes appear in HTTP answers, and their meaning never changes.
type Code string

// The codes of this package's refusals.
const (
	// CodeTooLarge: the document exceeds the limit of its kind. It was not parsed.
	CodeTooLarge Code = "too_large"
	// CodeMalformed: the bytes are not a document of this kind, or a field has an invalid value.
	CodeMalformed Code = "malformed"
	// CodeUnknownSchema: the document has a schema number that this version does not know.
	CodeUnknownSchema Code = "unknown_schema"
	// CodeWrongType: the envelope has another kind of statement, such as an intent instead of a manifest.
	CodeWrongType Code = "wrong_type"

	// CodeUnknownKey: a signature was made by a key that is not in the trust document.
	CodeUnknownKey Code = "unknown_key"
	// CodeBadSignature: a signature does not match: the payload, the signature or the key was changed.
	CodeBadSignature Code = "bad_signature"
	// CodeNotEnoughSignatures: the signers may sign, but there are fewer distinct ones than the threshold.
	CodeNotEnoughSignatures Code = "not_enough_signatures"
	// CodeWrongRole: the signing keys are in the trust document, but in no role; root keys do not publish.
	CodeWrongRole Code = "wrong_role"
	// CodeWrongOrg: the statement is about another org than the trust document.
	CodeWrongOrg Code = "wrong_org"
	// CodeWrongApp: no role of the signers includes the app, or the manifest is of another app than requested.
	CodeWrongApp Code = "wrong_app"
	// CodeWrongChannel: no role of the signers includes the channel of this app, or the manifest is of another channel
	// than requested.
	CodeWrongChannel Code = "wrong_channel"

	// CodeExpired: the statement has expired.
	CodeExpired Code = "expired"
	// CodeNotYetValid: the statement was issued in the future, by more than clocks may differ ([MaxSkew]).
	CodeNotYetValid Code = "not_yet_valid"
	// CodeTrustExpired: the trust document in force has expired, so it allows nothing except its successor.
	CodeTrustExpired Code = "trust_expired"

	// CodeSequenceNotHigher: the manifest is not newer than the one in force, or older than one the device has seen.
	CodeSequenceNotHigher Code = "sequence_not_higher"
	// CodeWrongEpoch: the sequence is not in the epoch that the trust document sets for the channel, see [Epoch].
	CodeWrongEpoch Code = "wrong_epoch"
	// CodeSequenceJump: the sequence is more than [MaxJump] above the one in force.
	CodeSequenceJump Code = "sequence_jump"
	// CodeNeedsUpdate: the manifest has a critical member that this version does not know.
	CodeNeedsUpdate Code = "needs_update"
	// CodeTrustVersionNotHigher: the trust document is older than the one in force.
	CodeTrustVersionNotHigher Code = "trust_version_not_higher"
	// CodeEquivocation: two different statements were signed under one sequence or version number.
	CodeEquivocation Code = "equivocation"
	// CodeDowngrade: the version is lower than the one served or run, and no signed rollback withdrew that one.
	CodeDowngrade Code = "downgrade"
	// CodeVersionTaken: the channel already has the version, with another bundle.
	CodeVersionTaken Code = "version_taken"
	// CodeNotInHistory: the channel has no such release.
	CodeNotInHistory Code = "not_in_history"
	// CodeRolloutRunning: another rollout has to be completed or aborted first.
	CodeRolloutRunning Code = "rollout_running"
	// CodeNoRollout: the channel has no rollout to change.
	CodeNoRollout Code = "no_rollout"
)

// RefusedError is the error for every statement, device state or operation that this package refuses.
type RefusedError struct {
	Code   Code   // for programs: stable
	Reason string // for people: what is wrong, with names and numbers
	Hint   string // for people: what to do about it; may be empty
}

// Error returns the reason and the code. Callers that can show more should also show the hint.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s (%s)", e.Reason, e.Code) }

// CodeOf returns the code of the [*RefusedError] that err is or wraps, and "" if there is none.
func CodeOf(err error) Code {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Code
	}
	return ""
}

// maxReason bounds a reason, in bytes: it may quote a document, which may be untrusted.
const maxReason = 512

// refuse returns a RefusedError. The reason is a format, the hint is plain text.
func refuse(code Code, hint, reason string, args ...any) error {
	text := fmt.Sprintf(reason, args...)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return &RefusedError{Code: code, Reason: text, Hint: hint}
}

func malformed(reason string, args ...any) error { return refuse(CodeMalformed, "", reason, args...) }
