package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"brink/bench/internal/process"
)

// Namespaces are two network namespaces joined by a link: servers are in one, devices in the other.
type Namespaces struct {
	Server, Device string // names

	added  []string // names of those that were made
	cancel context.CancelFunc
	ended  chan struct{} // closed when no packet is carried any more
}

// device is the name of the link's end in either namespace.
const device = "far"

// Addresses in the namespaces, from the range reserved for benchmarks (RFC 2544).
const (
	ServerAddress = "198.18.0.1"
	deviceAddress = "198.18.0.2"
)

// Close removes the link and the namespaces.
func (n *Namespaces) Close() error {
	n.cancel()
	<-n.ended
	var errs []error
	for _, name := range n.added {
		errs = append(errs, process.Run(exec.Command("ip", "netns", "delete", name)))
	}
	return errors.Join(errs...)
}

// Open makes the namespaces and the link. It needs root, ip and /dev/net/tun.
func (l Link) Open(ctx context.Context) (_ *Namespaces, err error) {
	n := &Namespaces{
		Server: fmt.Sprintf("brink-s-%d", os.Getpid()), Device: fmt.Sprintf("brink-d-%d", os.Getpid()),
		ended: make(chan struct{}),
	}
	ctx, n.cancel = context.WithCancel(ctx)
	var ends []*os.File
	defer func() {
		if err != nil {
			close(n.ended)
			for _, end := range ends {
				err = errors.Join(err, end.Close())
			}
			err = errors.Join(err, n.Close())
		}
	}()
	for _, one := range []struct{ name, address string }{{n.Server, ServerAddress}, {n.Device, deviceAddress}} {
		if err := process.Run(process.Command(ctx, "ip", "netns", "add", one.name)); err != nil {
			return nil, err
		}
		n.added = append(n.added, one.name)
		err := Within(one.name, func() error {
			end, err := openTUN(device)
			if err != nil {
				return err
			}
			ends = append(ends, end)
			if l.Congestion != "" {
				if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(l.Congestion), 0); err != nil {
					return err
				}
			}
			// What TCP has measured on one connection must not help the next one.
			return os.WriteFile("/proc/sys/net/ipv4/tcp_no_metrics_save", []byte("1"), 0)
		})
		if err != nil {
			return nil, err
		}
		for _, args := range [][]string{
			{"-n", one.name, "address", "add", one.address + "/24", "dev", device},
			{"-n", one.name, "link", "set", device, "up", "txqueuelen", "10000"},
			{"-n", one.name, "link", "set", "lo", "up"},
		} {
			if err := process.Run(process.Command(ctx, "ip", args...)); err != nil {
				return nil, err
			}
		}
	}
	if l.Window > 0 {
		route := []string{"-n", n.Server, "route", "change", "198.18.0.0/24", "dev", device, "src", ServerAddress}
		if err := process.Run(process.Command(ctx, "ip", append(route, "initcwnd", fmt.Sprint(l.Window))...)); err != nil {
			return nil, err
		}
	}
	go func() {
		defer close(n.ended)
		l.carry(ctx, ends[0], ends[1])
	}()
	return n, nil
}

// Within calls do on a thread in a network namespace. Programs that do starts, and sockets that it opens without other
// goroutines, are in the namespace as well.
func Within(namespace string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			file, err := os.Open("/run/netns/" + namespace)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			return do()
		}()
	}()
	return <-done
}

// Run runs a program to its end in a network namespace and writes its standard output to out, unless out is nil.
func Run(namespace string, cmd *exec.Cmd, out io.Writer) error {
	return Within(namespace, func() error {
		raw, err := process.Output(cmd)
		if err == nil && out != nil {
			_, err = out.Write(raw)
		}
		return err
	})
}
