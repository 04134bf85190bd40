package client

import (
	"errors"

	"golang.org/x/sys/unix"
)

// syncTree makes all files below dir durable. One syncfs costs about as much as one fsync, and a bundle has hundreds of
// files.
func (c *Client) syncTree(dir string) error {
	file, err := c.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(file.Fd())), file.Close())
}
