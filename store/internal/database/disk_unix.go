//go:build linux || darwin || freebsd

package database

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readsLog says whether LogReader reads files. This requires that read(2) returns what was written to a memory map, and
// that an open file can be removed.
const readsLog = true

// dataEnd returns where the last hole of a file starts, or its size if it does not end in a hole or that is unknown.
func dataEnd(f *os.File, size int64) int64 {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return at // no more data
		}
		if err != nil {
			return size
		}
		if at, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE); err != nil {
			return size
		}
	}
	return size
}

// syncDir makes the entries of a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
