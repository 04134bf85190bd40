package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuseLinks has the kernel refuse symbolic links to this thread, and to the program that it becomes, with the error
// that file systems without them give (symlink(2)). It needs no rights.
func refuseLinks() error {
	const number = 0                           // of the system call, in struct seccomp_data
	const symlink = uint32(unix.SYS_SYMLINKAT) // which is what Go calls on every architecture
	const answer = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: symlink, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: answer},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// becomeLinkless turns this test binary into a program that cannot make links.
func becomeLinkless(args []string) error {
	runtime.LockOSThread()
	if err := refuseLinks(); err != nil {
		return err
	}
	if err := os.Symlink("to", filepath.Join(os.TempDir(), "link")); !errors.Is(err, fs.ErrPermission) {
		return errors.Join(errors.New("links are not refused"), err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// needLinkless skips a test where the kernel filters no system calls, or fails it where BRINK_CI=1 promises that
// nothing is missing.
func needLinkless(t *testing.T, o outcome) {
	t.Helper()
	switch {
	case o.code != linklessFailed:
	case os.Getenv("BRINK_CI") == "1":
		t.Fatal(o.stderr)
	default:
		t.Skipf("the kernel filters no system calls here: %s", o.stderr)
	}
}

// pathOf returns the folder that the state of a device names.
func pathOf(t *testing.T, device string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(device, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := decode[struct{ Current struct{ Bundle string } }](t, string(raw))
	return filepath.Join(device, "bundles", s.Current.Bundle)
}

// TestFetch_WithoutLinksSurvivesKills is about a system that refuses symbolic links.
func TestFetch_WithoutLinksSurvivesKills(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.linkless = true
	needLinkless(t, p.run(t, "version"))
	fetchSurvivesKills(t, p, func(t *testing.T, device string, allowed ...state) state {
		t.Helper()
		if _, err := os.Lstat(filepath.Join(device, "current")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a link where none can be made: %v", err)
		}
		return inFolder(t, pathOf(t, device), allowed...)
	})
}

// TestFetch_GoesOnWithoutLinksAndBack has a device that comes to a system that refuses links.
func TestFetch_GoesOnWithoutLinksAndBack(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data", quick...)
	for i, linkless := range []bool{false, true, true, false} {
		version := fmt.Sprintf("1.%d.0", i)
		files := tree{"index.html": version}
		p.publish(t, n.url, files.write(t, p.file(version)), version)
		device := *p
		device.linkless = linkless
		o := device.run(t, device.fetchArgs(n.url, "device")...)
		needLinkless(t, o)
		if o.code != 0 {
			t.Fatalf("links are refused: %v, and fetch ended with %d: %s", linkless, o.code, o.stderr)
		}
		got := decode[struct{ Version, Path string }](t, o.stdout)
		if got.Version != version || p.file(got.Path) != pathOf(t, p.file("device")) {
			t.Errorf("links are refused: %v, and fetch says %+v", linkless, got)
		}
		if !readTree(t, p.file(got.Path)).equal(files) {
			t.Errorf("%s is not what was published", got.Path)
		}
		to, err := filepath.EvalSymlinks(p.file("device/current"))
		if linkless && !errors.Is(err, fs.ErrNotExist) || !linkless && filepath.Base(to) != filepath.Base(got.Path) {
			t.Errorf("links are refused: %v, and the link is to %q (%v)", linkless, to, err)
		}
	}
}
