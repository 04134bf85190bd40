package client

import (
	"errors"
	"os"
	"runtime"
)

// syncDir makes the names in a folder durable: what was renamed into it stays there after a power loss.
func syncDir(root *os.Root, dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders can not be synced there; NTFS journals its names
	}
	file, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
