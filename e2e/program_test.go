package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	app        = "com.acme.shop"
	production = "production"
	beta       = "beta"
)

// program is the built program, with the keys and the trust document of an org, in a folder of one test.
type program struct {
	path  string // of the program
	dir   string // where it runs
	trust string // file of the trust document
	key   string // file of the publisher's key

	linkless bool // the system refuses it symbolic links
}

// begin builds the program and makes an org.
func begin(t *testing.T) *program {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{path: path, dir: t.TempDir(), trust: "acme.trust.json", key: "ci.key"}
	p.must(t, "key", "new", "root.key")
	p.must(t, "key", "new", p.key)
	p.must(t, "org", "new", "acme", "--root", "root.key", "--publisher", p.key+".pub", "--apps", "com.acme.*", "--out", p.trust)
	return p
}

// outcome is how a verb ended.
type outcome struct {
	code           int // exit code; -1 when a signal ended it
	stdout, stderr string
	peak           int64 // bytes of memory that it held at most; 0 unless it was measured
}

// command returns a call of the program that was not started.
func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.dir
	cmd.Env = environment(p.dir)
	if p.linkless {
		withoutLinks(cmd)
	}
	return cmd
}

// environment is all that the program may know of this machine.
func environment(home string) []string {
	env := []string{"HOME=" + home, "TMPDIR=" + home, "BRINK_LOG_FORMAT=json", "BRINK_DRAIN_WAIT=0s"}
	for _, name := range []string{"PATH", "SYSTEMROOT"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}

// run calls the program and waits for its end.
func (p *program) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(t, p.command(args...))
}

// finish starts a command, hands its process to whoever wants it, waits for its end, and checks that it did not end
// with a panic.
func finish(t *testing.T, cmd *exec.Cmd, started ...func(*os.Process)) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, do := range started {
		do(cmd.Process)
	}
	err := cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%v: %v", cmd, err)
	}
	o := outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	wantNoPanic(t, o.stderr)
	return o
}

// must calls the program and fails the test unless it ends well.
func (p *program) must(t *testing.T, args ...string) outcome {
	t.Helper()
	o := p.run(t, args...)
	if o.code != 0 {
		t.Fatalf("brink %s ended with %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	return o
}

// measureIn names the file in which this test binary, called as a program, leaves how much memory the program held that
// it was told to run. The kernel counts the memory of whoever starts a program as the program's own until it runs, and
// this binary, freshly started, holds less than any test does.
const measureIn = "BRINK_E2E_MEASURE"

// measure runs a program and returns its exit code.
func measure(file string, args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	_ = cmd.Run() // the exit code says it all
	if cmd.ProcessState == nil || os.WriteFile(file, []byte(strconv.FormatInt(peakOf(cmd.ProcessState), 10)), 0o600) != nil {
		return -1
	}
	return cmd.ProcessState.ExitCode()
}

// linkless tells this test binary, called as a program, to become the program that it is told, and to have the system
// refuse that one symbolic links. It ends with linklessFailed where the system cannot.
const (
	linkless       = "BRINK_E2E_LINKLESS"
	linklessFailed = 99
)

func withoutLinks(cmd *exec.Cmd) {
	cmd.Args = append([]string{os.Args[0]}, cmd.Args...)
	cmd.Path, cmd.Err = os.Executable()
	cmd.Env = append(cmd.Env, linkless+"=1")
}

// measured is must for a call whose memory is measured.
func (p *program) measured(t *testing.T, args ...string) outcome {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "peak")
	cmd := exec.Command(self, append([]string{p.path}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(environment(p.dir), measureIn+"="+file)
	o := finish(t, cmd)
	if o.code != 0 {
		t.Fatalf("brink %s ended with %d\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if o.peak, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		t.Fatal(err)
	}
	return o
}

// crashed matches what the Go runtime and the node write when the program is at fault.
var crashed = regexp.MustCompile(`(?m)^panic: |^fatal error: |^goroutine \d+ |"msg":"panic"|DATA RACE|^SIG[A-Z]+: |unexpected fault`)

func wantNoPanic(t *testing.T, text string) {
	t.Helper()
	if at := crashed.FindStringIndex(text); at != nil {
		t.Errorf("the program is at fault:\n%.4000s", text[at[0]:])
	}
}

// published is what publish, promote and rollback print with --json.
type published struct {
	Version, Bundle, Channel string
	Sequence                 uint64
	Files, Chunks            int
	Bytes                    int64
	ChunksSent               int     `json:"chunks_sent"`
	BytesSent                int64   `json:"bytes_sent"`
	DurationMS               float64 `json:"duration_ms"`
	Unchanged                bool
}

// fetched is what fetch prints with --json.
type fetched struct {
	Version, Bundle, Previous, Decision, Reason, Encoding string
	Sequence                                              uint64
	BytesReceived                                         int64 `json:"bytes_received"`
	Requests, Parts                                       int
	DurationMS                                            float64 `json:"duration_ms"`
	Patched, Resumed                                      bool
	UpToDate                                              bool `json:"up_to_date"`
}

// failure is what every verb prints on stderr with --json when it fails.
type failure struct{ Code, Message, Hint string }

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, text)
	}
	return v
}

// failureOf returns why a verb that was called with --json failed.
func failureOf(t *testing.T, o outcome) failure {
	t.Helper()
	if o.code == 0 {
		t.Fatalf("it ended well:\n%s", o.stdout)
	}
	return decode[struct{ Error failure }](t, o.stderr).Error
}

// publishArgs and fetchArgs are the calls that most stories make.

func (p *program) publishArgs(url, folder, version, channel string) []string {
	return []string{
		"publish", folder, "--json", "--node", url, "--key", p.key, "--trust", p.trust,
		"--app", app, "--version", version, "--channel", channel,
	}
}

func (p *program) fetchArgs(url, device string) []string {
	return []string{
		"fetch", device, "--json", "--node", url, "--trust", p.trust,
		"--app", app, "--channel", production,
	}
}

func (p *program) publish(t *testing.T, url, folder, version string) published {
	t.Helper()
	return decode[published](t, p.must(t, p.publishArgs(url, folder, version, production)...).stdout)
}

func (p *program) fetch(t *testing.T, url, device string) fetched {
	t.Helper()
	return decode[fetched](t, p.must(t, p.fetchArgs(url, device)...).stdout)
}

// file returns where a file of this test lies.
func (p *program) file(name string) string { return filepath.Join(p.dir, name) }
