//go:build unix

package wire

import "syscall"

// Descriptors returns how many descriptors the process may have (RLIMIT_NOFILE, getrlimit(2)), or 0 if that is not
// known or not limited. Package os has raised the soft limit to the hard limit at the start of the program.
func Descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) >= 1<<40 {
		return 0
	}
	return uint64(limit.Cur)
}
