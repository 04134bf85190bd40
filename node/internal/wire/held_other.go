//go:build !linux

package wire

import (
	"errors"
	"syscall"
)

// file is supported on Linux only.
type file struct{}

func newFile() (file, error) { return file{}, errors.ErrUnsupported }

func (file) seal() error { return errors.ErrUnsupported }

func (file) Close() error { return nil }

func (file) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func (file) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

func (file) send(syscall.RawConn, int64, int64) (int64, error) { return 0, errors.ErrUnsupported }

func sendMore(syscall.RawConn, []byte) (int, error) { return 0, errors.ErrUnsupported }
