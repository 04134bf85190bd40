package process

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// TimedVerb is the first argument for which the bench's own program must call [Timed] with the others.
const TimedVerb = "__timed"

// Took is what a program used that [Time] has run.
type Took struct {
	Seconds float64 `json:"seconds"`
	Peak    int64   `json:"peak"` // bytes
}

// Timed runs a program to its end and prints as JSON what it used. It is a process between the bench and the program,
// because Linux counts the memory of the process that forks as that of the program: this one is still small.
func Timed(args []string, out io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	start := time.Now()
	if err := Run(cmd); err != nil {
		return err
	}
	elapsed := time.Since(start)
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return json.NewEncoder(out).Encode(Took{elapsed.Seconds(), used.Maxrss << 10})
}

// Time runs a program in dir to its end and returns what it used. It runs this executable with [TimedVerb].
func Time(ctx context.Context, dir string, args ...string) (Took, error) {
	self, err := os.Executable()
	if err != nil {
		return Took{}, err
	}
	cmd := Command(ctx, self, append([]string{TimedVerb}, args...)...)
	cmd.Dir = dir
	raw, err := Output(cmd)
	if err != nil {
		return Took{}, err
	}
	var t Took
	return t, json.Unmarshal(raw, &t)
}
