package client

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

// currentLink is for programs that do not use this package. Nothing in this package reads through it.
const currentLink = "current"

// updateLink updates the link according to the state. It removes it while the app runs its built-in bundle, and where
// links are refused, because an outdated link is worse than none.
func (c *Client) updateLink() error {
	now, err := c.root.Readlink(currentLink)
	there := err == nil
	if c.state.Current == nil {
		return c.removeLink(there)
	}
	target := bundleDir(c.state.Current.Bundle)
	if there && now == target {
		return nil
	}
	const fresh = currentLink + ".new"
	if err := c.root.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch err := c.config.symlink(c.root, target, fresh); {
	case err == nil:
		return c.root.Rename(fresh, currentLink)
	case refused(err):
		return c.removeLink(there)
	default:
		return err
	}
}

// removeLink removes the link if it exists.
func (c *Client) removeLink(there bool) error {
	if !there {
		return nil
	}
	return c.root.Remove(currentLink)
}

// symlink makes a symbolic link below root. On Windows it always fails, although it could succeed in developer mode: an
// app that relied on the link would work for its developers, but not for its users.
func symlink(root *os.Root, target, name string) error {
	if runtime.GOOS == "windows" {
		return errors.ErrUnsupported
	}
	return root.Symlink(target, name)
}

// refused reports whether links are not supported here: FAT and Android's shared storage return EPERM (symlink(2)),
// sandboxes EACCES, EPERM or ENOSYS. The folder itself is writable: the state was written just before.
func refused(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission)
}
