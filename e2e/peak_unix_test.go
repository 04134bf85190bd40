//go:build unix

package e2e_test

import (
	"os"
	"runtime"
	"syscall"
)

// peakOf returns how many bytes of memory a process that has ended held at most.
func peakOf(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss << 10
}
