//go:build linux || darwin || freebsd

package database

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readsLog is whether LogReader reads files: what was written to a map of a file has to be seen by who reads the file,
// and the file must be free to be removed meanwhile.
const readsLog = true

// dataEnd returns where the last hole of a file begins, or its size when it does not end in a hole or nobody knows.
func dataEnd(f *os.File, size int64) int64 {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return at // no data from here on
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

// syncDir makes durable which files a folder has.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
