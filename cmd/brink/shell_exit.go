package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/channel"
	"brink/client"
	"brink/digest"
	"brink/origin/bucket"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

// Exit codes. Scripts depend on them: a number never changes its meaning.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitRefused     = 3
	exitConflict    = 4
	exitNotFound    = 5
	exitUnreachable = 6
	exitDamaged     = 7
	exitHeld        = 8
	exitReplicas    = 9
	exitInterrupted = 130 // as shells report a program that was stopped by SIGINT
)

// exitTable is part of every --help.
const exitTable = `Exit codes:
    0  success
    1  failure, for a reason not listed below
    2  usage: a flag, an argument or a setting is wrong or missing
    3  refused: a signature, the rights of a key, a quota or a name does not allow it
    4  conflict: somebody else changed the channel first
    5  not found
    6  unavailable: no node could be reached, or the node cannot serve now
    7  damaged data found
    8  the folder is locked by another process
    9  published and in force, but on fewer nodes or regions than --replicas or --regions require
  130  interrupted`

// report is an error as users see it.
type report struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	exit    int
}

// usageError is an error in the way the program was called.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// of adds the name of the called verb to the message, and a hint to its help when there is no better one.
func (e *usageError) of(cmd *cobra.Command) *usageError {
	path := cmd.CommandPath()
	named := &usageError{message: e.message, hint: e.hint}
	if name := strings.TrimPrefix(path, cmd.Root().Name()+" "); name != path && !strings.HasPrefix(e.message, path) {
		named.message = name + ": " + e.message
	}
	if named.hint == "" {
		named.hint = "see " + path + " --help"
	}
	return named
}

// asUsage turns an error that occurred before the verb started into a usage error.
func asUsage(err error) error {
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return err
	}
	return &usageError{message: err.Error()}
}

// hinted is an error with a hint on what the user can do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// withHint adds a hint to an error that is not nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// describe is the only place that maps errors of all packages to codes, hints and exit codes.
func describe(err error) report {
	r := classify(err)
	r.Message = strings.ReplaceAll(err.Error(), "\n", "; ")
	if own, ok := errors.AsType[*hinted](err); ok {
		r.Hint = own.hint
	}
	return r
}

// classify returns the report for the first case that matches err.
func classify(err error) report {
	is := func(target error) bool { return errors.Is(err, target) }
	if usage, ok := errors.AsType[*usageError](err); ok {
		return report{Code: "usage", Hint: usage.hint, exit: exitUsage}
	}
	if is(publish.ErrForeignTrust) {
		return report{
			Code: "foreign_trust", exit: exitRefused,
			Hint: "get the newest trust document from the owner of the org's root keys; if you have it, do not trust this node",
		}
	}
	if is(publish.ErrSequence) {
		return report{
			Code: "unexpected_sequence", exit: exitConflict,
			Hint: "check the channel with brink channel show, then set --expect-sequence to the sequence that it should be at",
		}
	}
	if refused, ok := errors.AsType[*channel.RefusedError](err); ok {
		exit := exitRefused
		if refused.Code == channel.CodeNotInHistory {
			exit = exitNotFound
		}
		return report{Code: string(refused.Code), Hint: refused.Hint, exit: exit}
	}
	if problem, ok := errors.AsType[*protocol.Problem](err); ok {
		return report{Code: problem.Code, Hint: problem.Hint, exit: problemExit(problem)}
	}
	if few, ok := errors.AsType[*publish.ReplicasError](err); ok {
		return report{Code: "too_few_replicas", Hint: few.Hint(), exit: exitReplicas}
	}
	if refused, ok := errors.AsType[*publish.AttachmentError](err); ok {
		return report{Code: "bad_attachment", Hint: refused.Hint, exit: exitRefused}
	}
	if refused, ok := errors.AsType[*publish.PrivateKeyError](err); ok {
		return report{
			Code: publish.WarnPrivateKey, exit: exitRefused,
			Hint: "leave them out with --exclude " + quote(refused.Files[0]) + "; --allow-private-keys publishes them",
		}
	}
	if warning, ok := errors.AsType[*folderWarning](err); ok {
		return report{Code: warning.Code, Hint: warning.Hint}
	}
	if refused, ok := errors.AsType[*bucket.Error](err); ok && !is(publish.ErrConflict) {
		return originReport(refused)
	}
	if _, ok := errors.AsType[*bundle.PathError](err); ok {
		return report{Code: "bad_path", Hint: "rename the file, or leave it out with --exclude", exit: exitRefused}
	}
	switch {
	case is(context.Canceled):
		return report{Code: "interrupted", exit: exitInterrupted}
	case is(channel.ErrKey):
		return report{Code: "bad_key", Hint: "brink key show FILE prints the kind of key in a file", exit: exitUsage}
	case is(publish.ErrConflict):
		const hint = "check the channel with brink channel show, then try again if the change is still wanted"
		return report{Code: "conflict", Hint: hint, exit: exitConflict}
	case is(client.ErrLocked), is(store.ErrLocked):
		return report{Code: "held", Hint: "stop that process first, or use another folder", exit: exitHeld}
	case is(client.ErrNotInstalled), is(client.ErrNoPrevious), is(publish.ErrUnpublished):
		return report{Code: "not_found", exit: exitNotFound}
	case is(client.ErrDamaged), is(store.ErrCorrupt), is(store.ErrDamaged),
		is(digest.ErrMismatch), is(bundle.ErrMalformed):
		return report{Code: "damaged", exit: exitDamaged}
	case is(bundle.ErrEmpty):
		return report{Code: "empty", Hint: "a bundle needs at least one file", exit: exitFailure}
	case is(fs.ErrNotExist):
		return report{Code: "not_found", exit: exitNotFound}
	case isListen(err):
		return report{Code: "can_not_listen", Hint: "use another address; port 0 selects a free port", exit: exitFailure}
	case isUnwell(err):
		return report{Code: "not_ready", exit: exitUnreachable}
	case is(client.ErrSlow):
		const hint = "use another node with --node, or try again: the download resumes"
		return report{Code: "slow", Hint: hint, exit: exitUnreachable}
	case isUnreachable(err):
		const hint = "is the node running, and is the address correct?"
		return report{Code: "unreachable", Hint: hint, exit: exitUnreachable}
	}
	return report{Code: "failed", exit: exitFailure}
}

// problemExit returns the exit code for an error response of a node.
func problemExit(p *protocol.Problem) int {
	switch p.Code {
	case protocol.CodeConflict, protocol.CodePreconditionFail:
		return exitConflict
	case protocol.CodeMismatch:
		return exitDamaged
	case protocol.CodeQuota:
		return exitRefused
	case protocol.CodeUnavailable, protocol.CodeBusy, protocol.CodeUnexpected:
		return exitUnreachable
	}
	switch {
	case p.Status == http.StatusNotFound:
		return exitNotFound
	case p.Status >= http.StatusInternalServerError:
		return exitFailure
	}
	return exitRefused
}

// isUnreachable reports whether a request got no answer.
func isUnreachable(err error) bool {
	_, request := errors.AsType[*url.Error](err)
	connection, ok := errors.AsType[*net.OpError](err)
	return request || ok && connection.Op != "listen"
}

// isListen reports whether listening on a socket failed.
func isListen(err error) bool {
	socket, ok := errors.AsType[*net.OpError](err)
	return ok && socket.Op == "listen"
}
