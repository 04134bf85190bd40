//go:build !linux

package client

import (
	"errors"
	"io/fs"
)

// syncTree makes all files below dir durable, one after the other.
func (c *Client) syncTree(dir string) error {
	return fs.WalkDir(c.root.FS(), dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return c.syncDir(name)
		}
		file, err := c.root.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
