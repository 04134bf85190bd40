package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// node is a running brink serve.
type node struct {
	url   string // of the public listener
	admin string // of the operators' listener; empty without one
	cmd   *exec.Cmd

	ended chan struct{} // closed when the process has ended and its log was read
	code  int           // exit code, once ended

	mu       sync.Mutex
	text     strings.Builder // the log
	watchers []watcher
}

// watcher waits for a line of the log.
type watcher struct {
	msg   string
	found chan logLine // of one line
}

// logLine is a line of the log that some test waits for.
type logLine struct{ Msg, Address, Admin string }

// serve starts a node on a folder and returns when it is ready. It is killed at the end of the test.
func (p *program) serve(t *testing.T, data string, flags ...string) *node {
	t.Helper()
	n, ready := p.tryServe(t, data, flags...)
	if !ready {
		t.Fatalf("the node ended with %d:\n%s", n.code, n.log())
	}
	return n
}

// tryServe is serve for a node that may refuse: it returns whether it is ready; otherwise it has ended.
func (p *program) tryServe(t *testing.T, data string, flags ...string) (*node, bool) {
	t.Helper()
	args := []string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--trust", p.trust}
	return start(t, p.command(append(args, flags...)...))
}

// start runs a command that is to become a node.
func start(t *testing.T, cmd *exec.Cmd) (*node, bool) {
	t.Helper()
	n := &node{cmd: cmd, ended: make(chan struct{})}
	ready := n.watch("node is ready")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go n.follow(stderr)
	t.Cleanup(func() {
		n.kill()
		wantNoPanic(t, n.log())
	})
	select {
	case line := <-ready:
		n.url = "http://" + line.Address
		if line.Admin != "" {
			n.admin = "http://" + line.Admin
		}
		return n, true
	case <-n.ended:
		return n, false
	}
}

// follow reads the log to its end, and then waits for the end of the process.
func (n *node) follow(stderr io.Reader) {
	defer close(n.ended)
	for lines := bufio.NewReader(stderr); ; {
		text, err := lines.ReadString('\n')
		n.note(text)
		if err != nil {
			break
		}
	}
	_ = n.cmd.Wait() // the exit code says it all
	n.code = n.cmd.ProcessState.ExitCode()
}

func (n *node) note(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text.WriteString(text)
	var line logLine
	if json.Unmarshal([]byte(text), &line) != nil {
		return
	}
	for _, w := range n.watchers {
		if w.msg == line.Msg {
			select {
			case w.found <- line:
			default: // it has been found before
			}
		}
	}
}

// watch returns a channel that gets the next line of the log with the message.
func (n *node) watch(msg string) <-chan logLine {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := watcher{msg: msg, found: make(chan logLine, 1)}
	n.watchers = append(n.watchers, w)
	return w.found
}

// log returns what the node has written to stderr so far.
func (n *node) log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// kill ends the node as kill -9 does, and waits for its end.
func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.ended
}

// terminate asks the node to end; ended says when it has.
func (n *node) terminate(t *testing.T) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// stop ends the node in good order.
func (n *node) stop(t *testing.T) {
	t.Helper()
	n.terminate(t)
	<-n.ended
	if n.code != 0 {
		t.Fatalf("the node ended with %d:\n%s", n.code, n.log())
	}
}

// peak returns how many bytes of memory the node has taken at most: of its own, not counting files that are mapped and
// that the kernel takes back when it wants to. It must have a listener for operators.
func (n *node) peak(t *testing.T) int64 {
	t.Helper()
	body, status := get(t, n.admin+"/metrics")
	for line := range strings.Lines(body) {
		if number, found := strings.CutPrefix(line, "go_memstats_sys_bytes "); found {
			held, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int64(held)
		}
	}
	t.Fatalf("the metrics do not tell how much memory there is: status %d", status)
	return 0
}

// memory returns what the kernel says about the memory of the node, in bytes, by the name that it has in
// /proc/<pid>/status; 0 where there is no such file.
func (n *node) memory(name string) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
