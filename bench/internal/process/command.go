// Package process starts programs, pins them to processors, and measures what they use.
//
// The life of one call: [Command] prepares a program, which [Pin] may keep on some processors; [Run] and [Output] run
// it to its end, [Stop] ends a server. [UsageOf] reads from /proc what a process has used so far, and [Time] measures a
// program that ends. [WriteLimit] measures what this machine can send at most.
//
// The invariant: what is measured of a program is not that of the program that measures it.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"brink/bench/internal/report"
)

// Command prepares a program that gets SIGTERM when ctx ends, and is killed 10 s later.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Run runs a command to its end. What it printed becomes part of the error.
func Run(cmd *exec.Cmd) error {
	_, err := Output(cmd)
	return err
}

// Output runs a command to its end and returns its standard output. What it printed becomes part of the error.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", filepath.Base(cmd.Path), err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}

// Require returns a [*report.Skipped] that names the programs that are missing on this machine.
func Require(programs ...string) error {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return &report.Skipped{Why: "not on this machine: " + strings.Join(missing, ", ")}
	}
	return nil
}

// Stop ends a server by SIGTERM and waits for it. Its exit status does not matter: some servers report the signal so.
func Stop(cmd *exec.Cmd) error {
	if cmd == nil || cmd.Process == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var status *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &status) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Pin returns the command that runs a program on some processors only, by taskset; on all if cores is empty.
func Pin(cores []int, name string, args []string) (string, []string) {
	if len(cores) == 0 {
		return name, args
	}
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(cores), " ", ","), "[]")
	return "taskset", append([]string{"-c", list, name}, args...)
}
