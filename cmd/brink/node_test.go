package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// process is a node that runs beside a script.
type process struct {
	cmd  *exec.Cmd
	log  sync.WaitGroup
	text strings.Builder // stderr, to be read once log is done
}

type processesKey struct{}

// setup gives a script a place for its nodes.
func setup(env *testscript.Env) error {
	env.Values[processesKey{}] = map[string]*process{}
	return nil
}

// nodeCommand starts brink serve with the flags and waits until it is ready. It sets NODE to its URL, and ADMIN to that
// of its operators' listener if it has one.
func nodeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: node NAME FLAGS…")
	}
	self, err := os.Executable()
	ts.Check(err)
	p := &process{cmd: exec.Command(self)}
	serve := []string{"brink", "serve", "--log-format", "json", "--drain-wait", "0s", "--listen", "127.0.0.1:0"}
	p.cmd.Args = append(serve, args[1:]...)
	p.cmd.Dir = ts.Getenv("WORK")
	p.cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	stderr, err := p.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	ts.Value(processesKey{}).(map[string]*process)[args[0]] = p
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		p.log.Wait()
		_ = p.cmd.Wait()
	})

	type line struct{ Msg, Address, Admin string }
	ready := make(chan line, 1)
	p.log.Go(func() {
		defer close(ready)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.text.WriteString(lines.Text() + "\n")
			var l line
			if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "node is ready" {
				ready <- l
			}
		}
	})
	l, ok := <-ready
	if !ok {
		p.log.Wait()
		ts.Fatalf("the node ended: %s", p.text.String())
	}
	ts.Setenv("NODE", "http://"+l.Address)
	if l.Admin != "" {
		ts.Setenv("ADMIN", "http://"+l.Admin)
	}
}

// stopCommand ends a node by a signal, INT or KILL, and writes its stderr to NAME.log. After INT it must end well.
func stopCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: stop NAME [KILL]")
	}
	p := ts.Value(processesKey{}).(map[string]*process)[args[0]]
	if p == nil {
		ts.Fatalf("no node %s", args[0])
	}
	signal := os.Interrupt
	if len(args) == 2 {
		signal = syscall.SIGKILL
	}
	ts.Check(p.cmd.Process.Signal(signal))
	p.log.Wait()
	err := p.cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && (!exited || signal == os.Interrupt) {
		ts.Fatalf("node %s: %v: %s", args[0], err, p.text.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), []byte(p.text.String()), 0o600))
}
