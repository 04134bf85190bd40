package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/channel"
	"brink/client"
	"brink/digest"
	"brink/protocol"
	"brink/publish"
	"brink/store"
)

func TestDescribe_GivesEveryErrorItsCode(t *testing.T) {
	for _, row := range []struct {
		err  error
		exit int
		code string
	}{
		{errors.New("something"), 1, "failed"},
		{bundle.ErrEmpty, 1, "empty"},
		{&net.OpError{Op: "listen", Err: errors.New("in use")}, 1, "can_not_listen"},
		{&protocol.Problem{Status: 500, Code: protocol.CodeInternal}, 1, "internal_error"},
		{&usageError{message: "no"}, 2, "usage"},
		{channel.ErrKey, 2, "bad_key"},
		{&channel.RefusedError{Code: channel.CodeWrongRole}, 3, "wrong_role"},
		{&protocol.Problem{Status: 403, Code: "unknown_key"}, 3, "unknown_key"},
		{&protocol.Problem{Status: 507, Code: protocol.CodeQuota}, 3, "quota_exceeded"},
		{&bundle.PathError{Path: "a\\b"}, 3, "bad_path"},
		{&publish.AttachmentError{Kind: "zip", Reason: "no"}, 3, "bad_attachment"},
		{&protocol.Problem{Status: 412, Code: protocol.CodeConflict}, 4, "conflict"},
		{publish.ErrConflict, 4, "conflict"},
		{&protocol.Problem{Status: 404, Code: protocol.CodeUnknownApp}, 5, "unknown_app"},
		{&channel.RefusedError{Code: channel.CodeNotInHistory}, 5, "not_in_history"},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, 5, "not_found"},
		{client.ErrNoPrevious, 5, "not_found"},
		{publish.ErrUnpublished, 5, "not_found"},
		{&url.Error{Op: "Get", Err: io.EOF}, 6, "unreachable"},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, 6, "unreachable"},
		{&protocol.Problem{Status: 503, Code: protocol.CodeUnavailable}, 6, "unavailable"},
		{&unwellError{url: "u", reasons: []string{"draining"}}, 6, "not_ready"},
		{store.ErrDamaged, 7, "damaged"},
		{store.ErrCorrupt, 7, "damaged"},
		{client.ErrDamaged, 7, "damaged"},
		{digest.ErrMismatch, 7, "damaged"},
		{bundle.ErrMalformed, 7, "damaged"},
		{store.ErrLocked, 8, "held"},
		{client.ErrLocked, 8, "held"},
		{client.ErrSlow, 6, "slow"},
		{context.Canceled, 130, "interrupted"},
		{&url.Error{Op: "Get", Err: context.Canceled}, 130, "interrupted"},
	} {
		r := describe(fmt.Errorf("some work: %w", row.err))
		if r.exit != row.exit || r.Code != row.code {
			t.Errorf("%v: exit %d, code %s; want %d, %s", row.err, r.exit, r.Code, row.exit, row.code)
		}
		if !strings.Contains(exitTable, fmt.Sprintf("\n%5d  ", r.exit)) {
			t.Errorf("exit code %d is not in the table", r.exit)
		}
	}
}

func TestDescribe_TheNearestHintCounts(t *testing.T) {
	err := fmt.Errorf("x: %w", withHint(&channel.RefusedError{Code: channel.CodeExpired, Hint: "theirs"}, "ours"))
	if got := describe(err).Hint; got != "ours" {
		t.Errorf("hint %q", got)
	}
	theirs := &protocol.Problem{Status: http.StatusForbidden, Code: "x", Hint: "the node's"}
	if got := describe(theirs).Hint; got != "the node's" {
		t.Errorf("hint %q", got)
	}
}

func TestHelp_EveryVerbTellsAllOfIt(t *testing.T) {
	verbs := 0
	walk(newRoot(&shell{stdout: io.Discard, stderr: io.Discard}), func(cmd *cobra.Command) {
		if cmd.RunE == nil {
			return
		}
		verbs++
		if !strings.Contains(cmd.Example, "brink "+strings.TrimPrefix(cmd.CommandPath(), "brink ")) {
			t.Errorf("%s: no example calls it", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Long+"\n"+cmd.Example, "\n") {
			if len(line) > 120 {
				t.Errorf("%s: a line of help is longer than 120: %s", cmd.CommandPath(), line)
			}
		}
	})
	if verbs < 20 {
		t.Errorf("%d verbs", verbs)
	}
}

// TestVerbs_AreInFilesOfTheirNames: brink org update is in org_update.go.
func TestVerbs_AreInFilesOfTheirNames(t *testing.T) {
	walk(newRoot(&shell{stdout: io.Discard, stderr: io.Discard}), func(cmd *cobra.Command) {
		if cmd.RunE == nil {
			return
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		file := strings.Join(path, "_") + ".go"
		source, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(source), `verb("`+cmd.Use+`"`) {
			t.Errorf("%s is not in %s (%v)", cmd.CommandPath(), file, err)
		}
	})
}
