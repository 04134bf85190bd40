package process

import (
	"context"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// WriteLimit returns how many bytes a second a bare write loop sends at most over loopback to a reader that discards
// them. It tries writes of chunk bytes and of 64 KiB, each with the kernel's own limit on unsent bytes and with one of
// 128 KiB, which stay in the processor's cache. writer and reader are the processors of each side; empty: all.
func WriteLimit(ctx context.Context, writer, reader []int, chunk int) (float64, error) {
	most := 0.0
	for _, size := range []int{chunk, 64 << 10} {
		for _, unsent := range []int{0, 128 << 10} {
			one, err := writeLoop(ctx, writer, reader, size, unsent, 300*time.Millisecond)
			if err != nil {
				return 0, err
			}
			most = max(most, one)
		}
	}
	return most, nil
}

// writeLoop writes for d over one loopback connection to a reader that reads up to 64 KiB at a time.
func writeLoop(ctx context.Context, writer, reader []int, chunk, unsent int, d time.Duration) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	from, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer to.Close()
	type result struct {
		bytes int64
		took  time.Duration
		err   error
	}
	read := make(chan result, 1)
	go func() {
		var r result
		r.err = bare(to, reader, func(fd int) error {
			buf := make([]byte, 64<<10)
			start := time.Now()
			for {
				n, err := unix.Read(fd, buf)
				if err == unix.EINTR {
					continue
				}
				if n <= 0 || err != nil {
					r.took = time.Since(start)
					return err
				}
				r.bytes += int64(n)
			}
		})
		read <- r
	}()
	err = bare(from, writer, func(fd int) error {
		if unsent > 0 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent); err != nil {
				return err
			}
		}
		buf := make([]byte, chunk)
		for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
			for rest := buf; len(rest) > 0; {
				n, err := unix.Write(fd, rest)
				if err != nil && err != unix.EINTR {
					return err
				}
				rest = rest[max(n, 0):]
			}
		}
		return unix.Shutdown(fd, unix.SHUT_WR)
	})
	r := <-read
	if err == nil {
		err = r.err
	}
	return float64(r.bytes) / r.took.Seconds(), err
}

// bare calls do with the descriptor of a connection in blocking mode, on a thread pinned to cores.
func bare(c net.Conn, cores []int, do func(fd int) error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its processors with it
	if len(cores) > 0 {
		var set unix.CPUSet
		for _, core := range cores {
			set.Set(core)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
	}
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer file.Close()
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	return do(fd)
}
