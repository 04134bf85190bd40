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

// Exit codes. Scripts build on them: a number never changes its meaning.
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
	exitInterrupted = 130 // what a shell reports for a program that Ctrl-C ended
)

// exitTable is part of every --help.
const exitTable = `Exit codes:
    0  done
    1  failed for another reason than those below
    2  usage: a flag, an argument or a setting is wrong or missing
    3  refused: a signature, the rights of a key, a quota or a name does not allow it
    4  conflict: somebody else changed the channel first
    5  not found
    6  no node could be reached, or the one that answered cannot serve now
    7  damaged data was found
    8  another process holds the folder
    9  published and in force, but on fewer nodes than --replicas or --regions ask for
  130  interrupted`

// report is an error as users see it.
type report struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	exit    int
}

// usageError tells that the program was called in a wrong way.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// of names the verb that was called, and points to its help when there is no better hint.
func (e *usageError) of(cmd *cobra.Command) *usageError {
	path := cmd.CommandPath()
	named := &usageError{message: e.message, hint: e.hint}
	if what := strings.TrimPrefix(path, cmd.Root().Name()+" "); what != path && !strings.HasPrefix(e.message, path) {
		named.message = what + ": " + e.message
	}
	if named.hint == "" {
		named.hint = path + " --help shows what it takes"
	}
	return named
}

// asUsage makes a usage error of whatever stopped the program before a verb began.
func asUsage(err error) error {
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return err
	}
	return &usageError{message: err.Error()}
}

// hinted is an error together with what the user can do about it.
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

// describe is the one place where errors of all rooms become codes, hints and exit codes. The first line that fits
// counts.
func describe(err error) report {
	r := classify(err)
	r.Message = strings.ReplaceAll(err.Error(), "\n", "; ")
	if own, ok := errors.AsType[*hinted](err); ok {
		r.Hint = own.hint
	}
	return r
}

func classify(err error) report {
	is := func(target error) bool { return errors.Is(err, target) }
	if usage, ok := errors.AsType[*usageError](err); ok {
		return report{Code: "usage", Hint: usage.hint, exit: exitUsage}
	}
	if is(publish.ErrForeignTrust) {
		return report{
			Code: "foreign_trust", exit: exitRefused,
			Hint: "ask whoever has the org's root keys for the newest trust document; if yours is that, do not trust this node",
		}
	}
	if is(publish.ErrSequence) {
		return report{
			Code: "unexpected_sequence", exit: exitConflict,
			Hint: "look at the channel, and give the sequence that it should be at with --expect-sequence",
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
		return report{Code: "bad_key", Hint: "brink key show FILE tells what a file holds", exit: exitUsage}
	case is(publish.ErrConflict):
		return report{Code: "conflict", Hint: "look at the channel, and try again if you still want to", exit: exitConflict}
	case is(client.ErrLocked), is(store.ErrLocked):
		return report{Code: "held", Hint: "end that process first, or name another folder", exit: exitHeld}
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
		return report{Code: "can_not_listen", Hint: "name another address; port 0 takes a free one", exit: exitFailure}
	case isUnwell(err):
		return report{Code: "not_ready", exit: exitUnreachable}
	case is(client.ErrSlow):
		const hint = "name another node with --node, or try again: what came is kept"
		return report{Code: "slow", Hint: hint, exit: exitUnreachable}
	case isUnreachable(err):
		const hint = "is the node running, and is the address right?"
		return report{Code: "unreachable", Hint: hint, exit: exitUnreachable}
	}
	return report{Code: "failed", exit: exitFailure}
}

// problemExit returns the exit code for an answer of a node that says no.
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

// isListen reports whether a socket could not be opened to listen on.
func isListen(err error) bool {
	socket, ok := errors.AsType[*net.OpError](err)
	return ok && socket.Op == "listen"
}
