package wire

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// file is a file in RAM (memfd_create(2)). The garbage collector closes it like any os.File.
type file struct {
	*os.File
	raw syscall.RawConn
}

func newFile() (file, error) {
	fd, err := unix.MemfdCreate("brink", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return file{}, err
	}
	f := file{File: os.NewFile(uintptr(fd), "held")}
	if f.raw, err = f.SyscallConn(); err != nil {
		return file{}, errors.Join(err, f.Close())
	}
	return f, nil
}

// seal makes the file immutable, so that verified bytes cannot be changed by mistake.
func (f file) seal() error {
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	var refused error
	failed := f.raw.Control(func(fd uintptr) { _, refused = unix.FcntlInt(fd, unix.F_ADD_SEALS, seals) })
	return errors.Join(failed, refused)
}

// send sends length bytes from an offset (sendfile(2)). It may return an error after it has sent some of them.
func (f file) send(to syscall.RawConn, at, length int64) (int64, error) {
	var sent int64
	var failed, refused error
	closed := f.raw.Control(func(in uintptr) {
		failed = to.Write(func(out uintptr) bool {
			for sent < length {
				offset := at + sent
				n, err := unix.Sendfile(int(out), int(in), &offset, int(length-sent))
				sent += int64(max(n, 0))
				switch {
				case errors.Is(err, unix.EAGAIN):
					return false
				case errors.Is(err, unix.EINTR):
				case err != nil:
					refused = os.NewSyscallError("sendfile", err)
					return true
				case n == 0:
					refused = io.ErrUnexpectedEOF
					return true
				}
			}
			return true
		})
	})
	return sent, errors.Join(closed, failed, refused)
}

// sendMore sends all of p, and lets the kernel combine its end with the next bytes in one packet (MSG_MORE, send(2)).
// If nothing follows, the kernel sends it after 200 milliseconds.
func sendMore(to syscall.RawConn, p []byte) (int, error) {
	var sent int
	var refused error
	failed := to.Write(func(out uintptr) bool {
		for sent < len(p) {
			n, err := unix.SendmsgN(int(out), p[sent:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			sent += max(n, 0)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case errors.Is(err, unix.EINTR):
			case err != nil:
				refused = os.NewSyscallError("sendmsg", err)
				return true
			}
		}
		return true
	})
	return sent, errors.Join(failed, refused)
}
