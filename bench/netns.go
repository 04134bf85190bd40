package main

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

// namespaces are two network namespaces joined by a link: servers are in one, devices in the other.
type namespaces struct {
	server, device string // names
	stop           func() error
}

// device is the name of the link's end in either namespace.
const device = "far"

// Addresses in the namespaces, of a range that is set aside for benchmarks (RFC 2544).
const (
	serverAddress = "198.18.0.1"
	deviceAddress = "198.18.0.2"
)

// join makes the namespaces and the link. It needs root, ip and /dev/net/tun.
func join(ctx context.Context, l link) (_ *namespaces, err error) {
	n := &namespaces{server: fmt.Sprintf("brink-s-%d", os.Getpid()), device: fmt.Sprintf("brink-d-%d", os.Getpid())}
	var ends []*os.File
	var added []string
	ctx, cancel := context.WithCancel(ctx)
	carried := make(chan struct{})
	n.stop = func() error {
		cancel()
		<-carried
		var errs []error
		for _, name := range added {
			errs = append(errs, process.Run(exec.Command("ip", "netns", "delete", name)))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			close(carried)
			for _, end := range ends {
				err = errors.Join(err, end.Close())
			}
			err = errors.Join(err, n.stop())
		}
	}()
	for _, one := range []struct{ name, address string }{{n.server, serverAddress}, {n.device, deviceAddress}} {
		if err := process.Run(process.Command(ctx, "ip", "netns", "add", one.name)); err != nil {
			return nil, err
		}
		added = append(added, one.name)
		err := within(one.name, func() error {
			end, err := openTUN(device)
			if err != nil {
				return err
			}
			ends = append(ends, end)
			if l.congestion != "" {
				if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(l.congestion), 0); err != nil {
					return err
				}
			}
			// What TCP learned of a path by one connection must not help the next: each is to be a first one.
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
	if l.window > 0 {
		route := []string{"-n", n.server, "route", "change", "198.18.0.0/24", "dev", device, "src", serverAddress}
		if err := process.Run(process.Command(ctx, "ip", append(route, "initcwnd", fmt.Sprint(l.window))...)); err != nil {
			return nil, err
		}
	}
	go func() {
		defer close(carried)
		l.carry(ctx, ends[0], ends[1])
	}()
	return n, nil
}

// within calls do on a thread inside a network namespace. Programs that do starts, and sockets that it opens without
// help of other goroutines, are inside as well.
func within(namespace string, do func() error) error {
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

// inside runs a program to its end in a network namespace; what it prints goes to out, if that is not nil.
func (w *wanPair) inside(namespace string, cmd *exec.Cmd, out io.Writer) error {
	return within(namespace, func() error {
		raw, err := process.Output(cmd)
		if err == nil && out != nil {
			_, err = out.Write(raw)
		}
		return err
	})
}
