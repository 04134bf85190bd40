package channel

import (
	"errors"
	"fmt"
	"strings"
)

// Code says in one stable word why something was refused. Codes appear in HTTP answers and never change their meaning.
type Code string

// The codes of everything this package refuses.
const (
	// CodeTooLarge: the document is larger than its kind may be. It was not parsed.
	CodeTooLarge Code = "too_large"
	// CodeMalformed: the bytes are not a document of this kind, or a field has a value that it may not have.
	CodeMalformed Code = "malformed"
	// CodeUnknownSchema: the document has a schema number that this version does not know.
	CodeUnknownSchema Code = "unknown_schema"
	// CodeWrongType: the envelope holds another kind of statement, such as an intent where a manifest belongs.
	CodeWrongType Code = "wrong_type"

	// CodeUnknownKey: a signature was made by a key that the trust document does not hold.
	CodeUnknownKey Code = "unknown_key"
	// CodeBadSignature: a signature does not match: the payload, the signature or the key was changed.
	CodeBadSignature Code = "bad_signature"
	// CodeNotEnoughSignatures: the signers fit, but there are fewer distinct ones than the threshold asks for.
	CodeNotEnoughSignatures Code = "not_enough_signatures"
	// CodeWrongRole: the signing keys are in the trust document, but in no role; root keys do not publish.
	CodeWrongRole Code = "wrong_role"
	// CodeWrongOrg: the statement is about another org than the trust document.
	CodeWrongOrg Code = "wrong_org"
	// CodeWrongApp: no role of the signers holds the app, or the manifest is not of the app that was asked for.
	CodeWrongApp Code = "wrong_app"
	// CodeWrongChannel: no role of the signers holds the channel for this app, or the manifest is not of the channel
	// that was asked for.
	CodeWrongChannel Code = "wrong_channel"

	// CodeExpired: the statement was good until a time that has passed.
	CodeExpired Code = "expired"
	// CodeNotYetValid: the statement was issued further in the future than clocks may differ ([MaxSkew]).
	CodeNotYetValid Code = "not_yet_valid"
	// CodeTrustExpired: the trust document in force has expired, so it allows nothing but its own successor.
	CodeTrustExpired Code = "trust_expired"

	// CodeSequenceNotHigher: the manifest is not newer than the one in force, or older than one the device has seen.
	CodeSequenceNotHigher Code = "sequence_not_higher"
	// CodeWrongEpoch: the sequence is not of the epoch that the trust document names for the channel, see [Epoch].
	CodeWrongEpoch Code = "wrong_epoch"
	// CodeSequenceJump: the sequence is further above the one in force than [MaxJump].
	CodeSequenceJump Code = "sequence_jump"
	// CodeNeedsUpdate: the manifest has a member that a reader must know, and this version does not.
	CodeNeedsUpdate Code = "needs_update"
	// CodeTrustVersionNotHigher: the trust document is older than the one in force.
	CodeTrustVersionNotHigher Code = "trust_version_not_higher"
	// CodeEquivocation: two different statements were signed under one sequence or version number.
	CodeEquivocation Code = "equivocation"
	// CodeDowngrade: the version is lower than the one served or run, and no signed rollback took that one back.
	CodeDowngrade Code = "downgrade"
	// CodeVersionTaken: the channel knows the version already, with another bundle.
	CodeVersionTaken Code = "version_taken"
	// CodeNotInHistory: the channel has no such release to roll back to or to give to a device.
	CodeNotInHistory Code = "not_in_history"
	// CodeRolloutRunning: another rollout has to be completed or aborted first.
	CodeRolloutRunning Code = "rollout_running"
	// CodeNoRollout: the channel has no rollout to change.
	CodeNoRollout Code = "no_rollout"
)

// RefusedError is what this package returns for every statement, device state or operation that it refuses.
type RefusedError struct {
	Code   Code   // for programs: stable
	Reason string // for people: what is wrong, with names and numbers
	Hint   string // for people: what to do about it; may be empty
}

// Error returns the reason and the code. The hint is left to whoever has room to show it.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s (%s)", e.Reason, e.Code) }

// CodeOf returns the code of the [*RefusedError] that err is or wraps, and "" if there is none.
func CodeOf(err error) Code {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Code
	}
	return ""
}

// maxReason bounds a reason, in bytes: it may quote a document, and the document may be a stranger's.
const maxReason = 512

// refuse makes a RefusedError; the reason is formatted, the hint is taken as it is.
func refuse(code Code, hint, reason string, args ...any) error {
	text := fmt.Sprintf(reason, args...)
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return &RefusedError{Code: code, Reason: text, Hint: hint}
}

func malformed(reason string, args ...any) error { return refuse(CodeMalformed, "", reason, args...) }
