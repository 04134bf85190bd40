package client

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

// currentLink is for those who do not ask the Client or read the state. Nothing in this package reads through it.
const currentLink = "current"

// link makes the link say what the state says: nothing while the app runs what it came with. Where links are refused
// there is none either, for one that lies is worse.
func (c *Client) link() error {
	now, err := c.root.Readlink(currentLink)
	there := err == nil
	if c.state.Current == nil {
		return c.unlink(there)
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
		return c.unlink(there)
	default:
		return err
	}
}

// unlink removes the link if it is there.
func (c *Client) unlink(there bool) error {
	if !there {
		return nil
	}
	return c.root.Remove(currentLink)
}

// symlink makes a symbolic link below root. On Windows it makes none, although it could in developer mode: an app that
// relied on the link would work for those who develop it, and for nobody else.
func symlink(root *os.Root, target, name string) error {
	if runtime.GOOS == "windows" {
		return errors.ErrUnsupported
	}
	return root.Symlink(target, name)
}

// refused reports whether there are no links here: FAT and Android's shared storage answer EPERM (symlink(2)),
// sandboxes EACCES, EPERM or ENOSYS. It is not the folder that refuses to be written to: the state was, just before.
func refused(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission)
}
