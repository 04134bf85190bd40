package client

import (
	"os"

	"golang.org/x/sys/unix"
)

// startSync has the kernel write what is in a file to the disk, without waiting for it. That it does is a matter of
// speed: whoever needs the file to be durable still has to sync it.
func startSync(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	})
}
