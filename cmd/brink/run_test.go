package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestRun_DemoServesUntilItIsInterrupted also shows that what the program starts, it ends.
func TestRun_DemoServesUntilItIsInterrupted(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),    // one for the whole process
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")) // ends within ten seconds
	t.Setenv("TMPDIR", t.TempDir())
	www := t.TempDir()
	if err := os.WriteFile(www+"/index.html", []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	said := &waiter{want: regexp.MustCompile(`--node (http://\S+)`), found: make(chan string, 1)}
	var stdout strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"demo", www + "/missing"}, nil, strings.NewReader(""), &stdout, said)
	}()
	if got := <-code; got != exitNotFound {
		t.Fatalf("a folder that is not there gave exit code %d: %s", got, said.text())
	}

	go func() { code <- run(ctx, []string{"demo", www}, nil, strings.NewReader(""), &stdout, said) }()
	var url string
	select {
	case url = <-said.found:
	case got := <-code:
		t.Fatalf("the demo ended with %d: %s", got, said.text())
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the node answers %s, %v", resp.Status, err)
	}
	interrupt()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d: %s", got, said.text())
	}
	if _, err := client.Get(url + "/livez"); err == nil {
		t.Error("the node answers still")
	}
	if !strings.Contains(stdout.String(), "device updates to 1.1.0") {
		t.Errorf("stdout is %q", stdout.String())
	}
}

func TestRun_InterruptedWorkSaysSo(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var stderr strings.Builder
	got := run(ctx, []string{"bundle", "inspect", "."}, nil, strings.NewReader(""), io.Discard, &stderr)
	if got != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", got, exitInterrupted, stderr.String())
	}
}

func TestRun_AResultThatCanNotBePrintedIsAFailure(t *testing.T) {
	var stderr strings.Builder
	if got := run(t.Context(), []string{"version"}, nil, strings.NewReader(""), full{}, &stderr); got != exitFailure {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

// full is a disk with no room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// waiter keeps what is written to it, and tells the first time that it matches.
type waiter struct {
	want  *regexp.Regexp
	found chan string

	mu      sync.Mutex
	written strings.Builder
	told    bool
}

func (w *waiter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written.Write(b)
	if m := w.want.FindStringSubmatch(w.written.String()); m != nil && !w.told {
		w.told = true
		w.found <- m[1]
	}
	return len(b), nil
}

func (w *waiter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.String()
}
