package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process and its children have used.
type Usage struct {
	Processor time.Duration // time, of user and system
	Peak      int64         // bytes resident at most, added up over the processes
}

// UsageOf returns what a process and its children have used so far. A process that has ended counts nothing.
func UsageOf(pid int) Usage {
	var u Usage
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	ticks := map[int]int64{}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// The name, in parentheses, may contain anything. After it: state, parent, and as 12th and 13th user and system time.
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
		u.Processor += time.Duration(ticks[id]) * 10 * time.Millisecond // USER_HZ is 100 on all Linux systems
		u.Peak += peakOf(id)
	}
	return u
}

// peakOf returns how many bytes of a process were resident at most.
func peakOf(pid int) int64 { return memoryOf(pid, "VmHWM:") }

// ResidentOf returns how many bytes of a process are resident now.
func ResidentOf(pid int) int64 { return memoryOf(pid, "VmRSS:") }

// memoryOf returns a line of /proc/PID/status in bytes, or 0 if there is no such process or line.
func memoryOf(pid int, line string) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), line)
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// WaitIdle waits until a process is idle: it has used less than a tenth of a processor for a second.
func WaitIdle(ctx context.Context, pid int) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := UsageOf(pid).Processor; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now := UsageOf(pid).Processor
		if now-before < 100*time.Millisecond {
			return nil
		}
		before = now
	}
}
