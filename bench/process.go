package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"brink/bench/internal/report"
)

// command prepares a program that is interrupted, not killed, when ctx ends.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output runs a command to its end; what it printed becomes part of the error.
func output(cmd *exec.Cmd) error {
	_, err := read(cmd)
	return err
}

// read runs a command to its end and returns what it printed on its standard output.
func read(cmd *exec.Cmd) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s%s", filepath.Base(cmd.Path), err, out.Bytes(), complaint.Bytes())
	}
	return out.Bytes(), nil
}

// need returns a *skipped error naming the programs that are missing.
func need(programs ...string) error {
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

// usage is what a process and its children have used.
type usage struct {
	processor time.Duration
	peak      int64 // bytes resident at most, added up over the processes
}

// usageOf reads /proc. A process that is gone counts nothing.
func usageOf(pid int) usage {
	var u usage
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	ticks := map[int]int64{}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything. After it: state, parent, and as 12th and 13th user and system time.
		end := bytes.LastIndexByte(raw, ')')
		fields := strings.Fields(string(raw[end+1:]))
		if end < 0 || len(fields) < 13 {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(fields[1])
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		parents[parent] = append(parents[parent], id)
		ticks[id] = user + system
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		queue = append(queue, parents[id]...)
		u.processor += time.Duration(ticks[id]) * 10 * time.Millisecond // USER_HZ is 100 on all Linux systems
		u.peak += peakOf(id)
	}
	return u
}

func peakOf(pid int) int64 { return memoryOf(pid, "VmHWM:") }

// residentOf returns how many bytes of a process are resident now.
func residentOf(pid int) int64 { return memoryOf(pid, "VmRSS:") }

func memoryOf(pid int, line string) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), line)
	var kib int64
	_, _ = fmt.Sscan(rest, &kib) // 0 when there is no such line
	return kib << 10
}

// calm returns when a process has nothing to do any more: it has used less than a tenth of a processor for a second.
func calm(ctx context.Context, pid int) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := usageOf(pid).processor; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := usageOf(pid).processor
		if now-before < 100*time.Millisecond {
			return nil
		}
		before = now
	}
}

// machine describes the hardware and no more.
func machine() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown processor"
	if _, rest, ok := strings.Cut(string(raw), "model name"); ok {
		line, _, _ := strings.Cut(rest, "\n")
		model = strings.TrimSpace(strings.TrimLeft(line, "\t: "))
	}
	var name syscall.Utsname
	_ = syscall.Uname(&name)
	release := make([]byte, 0, len(name.Release))
	for _, c := range name.Release {
		if c == 0 || c == '-' {
			break
		}
		release = append(release, byte(c))
	}
	return fmt.Sprintf(
		"Machine: %d processors (%s), Linux %s, %s.",
		runtime.NumCPU(),
		model,
		release,
		runtime.Version(),
	)
}

// readLoad returns the load average of the last minute.
func readLoad() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(raw), " ")
	return one
}

// stop ends a server and waits for it. A server that was told to stop may say so by its exit status.
func stop(cmd *exec.Cmd) error {
	if cmd.Process == nil {
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

// timedVerb makes this program run another one and report what it took: its rusage is that of one child alone.
const timedVerb = "__timed"

// took is what a program that ended has used.
type took struct {
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak"` // bytes
}

// timed runs a program and prints what it took. It stands between because Linux counts the memory of who starts a
// program as that program's: this process is still small.
func timed(args []string, out io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	start := time.Now()
	if err := output(cmd); err != nil {
		return err
	}
	elapsed := time.Since(start)
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return json.NewEncoder(out).Encode(took{elapsed.Seconds(), used.Maxrss << 10})
}

// time runs a program in dir and returns what it took.
func (b *bench) time(ctx context.Context, dir string, args ...string) (took, error) {
	self, err := os.Executable()
	if err != nil {
		return took{}, err
	}
	cmd := command(ctx, self, append([]string{timedVerb}, args...)...)
	cmd.Dir = dir
	raw, err := read(cmd)
	if err != nil {
		return took{}, err
	}
	var t took
	return t, json.Unmarshal(raw, &t)
}
