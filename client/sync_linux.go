package client

import (
	"os"

	"golang.org/x/sys/unix"
)

// startSync starts writing the contents of a file to disk, without waiting. This is only an optimization: the file is
// durable only after it is synced.
func startSync(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	})
}
