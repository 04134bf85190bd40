package process

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Machine describes this machine in one sentence: processors, kernel, and the version of Go.
func Machine() string {
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

// LoadAverage returns the load average of the last minute, as text.
func LoadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(raw), " ")
	return one
}
