package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
	"brink/protocol"
)

// hostile is text that makes a terminal set its title, erase lines, go back, turn directions and hide things, by C0 and
// C1 controls, marks of direction, and bytes that are not UTF-8; and that begins a line of its own.
const hostile = "1.0\x1b]0;title\x07\x1b[2K\rpublished\nbrink: all is well\u009b2K\u202egnp\u2066\u200b\u00ad\x9b1A\t\x00\x7f é→"

// checkPrintable refuses output that a terminal takes for anything but text, and lines that begin with what came from
// elsewhere.
func checkPrintable(t *testing.T, what, output string) {
	t.Helper()
	for _, r := range output {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s: %U reaches the terminal in %q", what, r, output)
			return
		}
	}
	if !utf8.ValidString(output) {
		t.Errorf("%s: bytes that are not UTF-8 reach the terminal in %q", what, output)
	}
	if strings.Contains(output, "\nbrink: all is well") {
		t.Errorf("%s: text from elsewhere begins a line:\n%s", what, output)
	}
}

func TestPrintable_LeavesTextAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain text", "é→ü 例 😀 \ufffd", `C:\files "quoted"`} {
		if got := printable(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got, want := printable("a\x1b\n\u202e\x9b"), `a\x1b\n\u202e\x9b`; got != want {
		t.Errorf("escaped is %q, want %q", got, want)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, text string) {
		var got string
		cost.Check(t, len(text), func() { got = printable(text) })
		checkPrintable(t, "printable", got+"\n")
		if len(got) > 10*len(text) {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
		raw, err := encode(text, "")
		if err != nil {
			t.Fatal(err)
		}
		var plain strings.Builder
		_ = json.NewEncoder(&plain).Encode(text)
		var same, want string
		if err := json.Unmarshal(raw, &same); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(plain.String()), &want); err != nil || same != want {
			t.Errorf("%q means %q as JSON, want %q", raw, same, want)
		}
		checkPrintable(t, "JSON", string(raw))
	})
}

// Whatever a node says, in results, in errors and in warnings, is text on the terminal; as JSON it is exact.
func TestShell_EscapesWhatNodesSay(t *testing.T) {
	t.Parallel()
	said := protocol.FleetStatus{Fleet: hostile, Nodes: []protocol.FleetMember{
		{
			NodeStatus: protocol.NodeStatus{
				Node: hostile, Region: hostile, State: hostile, Version: hostile, Reasons: []string{hostile},
			},
			Lacking: []protocol.ChannelLag{{App: hostile, Channel: hostile, Has: 1, Sequence: 2}},
		},
		{NodeStatus: protocol.NodeStatus{Node: hostile}, Error: hostile},
	}}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fleet" {
			_ = json.NewEncoder(w).Encode(said)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(protocol.Problem{Code: hostile, Message: hostile, Hint: hostile})
	}))
	defer node.Close()
	for _, args := range [][]string{
		{"fleet", "status", "--node", node.URL},
		{"fleet", "status", "--node", node.URL, "--json"},
		{"fleet", "drain", "n1", "--node", node.URL},
		{"fleet", "rotate" + hostile},
		{"fleet", "drain", hostile, "--node", node.URL},
		{"org", "show", hostile},
		{"publish", "--" + hostile},
	} {
		var stdout, stderr strings.Builder
		run(t.Context(), args, nil, strings.NewReader(""), &stdout, &stderr)
		checkPrintable(t, strings.Join(args[:2], " "), stdout.String())
		checkPrintable(t, strings.Join(args[:2], " "), stderr.String())
		if args[len(args)-1] != "--json" {
			continue
		}
		var got protocol.FleetStatus
		if err := json.Unmarshal([]byte(stdout.String()), &got); err != nil {
			t.Fatal(err)
		}
		want := strings.ToValidUTF8(hostile, "\ufffd")
		if diff := cmp.Diff(want, got.Nodes[0].Version); diff != "" {
			t.Errorf("the version as JSON (-want +got):\n%s", diff)
		}
	}
}

// All that is printed passes show, warn or fail.
func TestShell_EscapesResultsErrorsAndWarnings(t *testing.T) {
	t.Parallel()
	for _, asJSON := range []bool{false, true} {
		var stdout, stderr strings.Builder
		sh := &shell{stdout: &stdout, stderr: &stderr, asJSON: asJSON}
		err := withHint(errors.New(hostile), "%s", hostile)
		sh.warn(err)
		sh.fail(err)
		sh.fail(&protocol.Problem{Code: hostile, Message: hostile, Hint: hostile})
		if err := sh.show(map[string]string{hostile: hostile}, func(w io.Writer) {
			facts(w, hostile, hostile)
			newTable("l", hostile).write(w)
			fmt.Fprintln(w, hostile)
		}); err != nil {
			t.Fatal(err)
		}
		for _, output := range []string{stdout.String(), stderr.String()} {
			checkPrintable(t, fmt.Sprintf("JSON %t", asJSON), output)
		}
	}
}
