// Package durable writes small files so that they survive power loss. When a write has returned, the file and its name
// are on the disk; an interrupted write leaves the file as it was.
//
// The method is the usual one: write another file in the same folder, sync it, rename it, and sync the folder, because
// the name is part of the folder and not of the file. Rename is atomic (POSIX; MoveFileEx on Windows). Without the
// first sync, a file system may make the rename durable before the content.
package durable

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Replace replaces or creates the file at a path. Readers see either the whole old content or the whole new content. If
// several processes replace the file at the same time, the last one wins. The mode is subject to the umask. A crash can
// leave a temporary file with the same mode, whose name is that of the file, a dot and 26 letters and digits.
func Replace(name string, data []byte, mode fs.FileMode) error {
	return replace(anywhere{}, name, name+"."+rand.Text(), data, mode)
}

// ReplaceIn is [Replace] for a file below root that has one writer at a time. The name of its temporary file is that of
// the file and ".new"; the next ReplaceIn overwrites what a crash has left.
func ReplaceIn(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return replace(below{root}, name, name+".new", data, mode)
}

// Create writes a new file. It returns [fs.ErrExist] if the file exists. If it fails it removes what it has written.
func Create(name string, data []byte, mode fs.FileMode) error {
	return create(anywhere{}, name, data, mode)
}

// Rename durably renames a file or folder whose content is durable.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return anywhere{}.sync(filepath.Dir(to))
}

// Write writes a file below root, and overwrites an existing one. The content is durable when it returns, the name only
// after a [SyncFolder], so that the caller can make several names durable with one sync.
func Write(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return write(below{root}, name, os.O_TRUNC, data, mode)
}

// SyncFolder makes the names in a folder below root durable. It does nothing on file systems that do not support it.
func SyncFolder(root *os.Root, name string) error { return below{root}.sync(name) }

// disk is the file system. The implementation in the tests simulates power loss.
type disk interface {
	open(name string, flags int, mode fs.FileMode) (file, error)
	rename(from, to string) error
	remove(name string) error
	sync(folder string) error // makes its names durable
}

type file interface {
	io.WriteCloser
	Sync() error
}

func replace(d disk, name, fresh string, data []byte, mode fs.FileMode) error {
	err := write(d, fresh, os.O_TRUNC, data, mode)
	if err == nil {
		err = d.rename(fresh, name)
	}
	if err != nil {
		_ = d.remove(fresh) // it is useless, and may contain a secret
		return err
	}
	return d.sync(filepath.Dir(name))
}

func create(d disk, name string, data []byte, mode fs.FileMode) error {
	err := write(d, name, os.O_EXCL, data, mode)
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if err == nil {
		err = d.sync(filepath.Dir(name))
	}
	if err != nil {
		_ = d.remove(name) // the first error is more useful
	}
	return err
}

func write(d disk, name string, flags int, data []byte, mode fs.FileMode) error {
	f, err := d.open(name, os.O_WRONLY|os.O_CREATE|flags, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// anywhere is the operating system's file system.
type anywhere struct{}

func (anywhere) open(name string, flags int, mode fs.FileMode) (file, error) {
	return os.OpenFile(name, flags, mode)
}

func (anywhere) rename(from, to string) error { return os.Rename(from, to) }

func (anywhere) remove(name string) error { return os.Remove(name) }

func (anywhere) sync(folder string) error { return syncFolder(os.Open, folder) }

// below is the operating system's file system below a folder.
type below struct{ root *os.Root }

func (b below) open(name string, flags int, mode fs.FileMode) (file, error) {
	return b.root.OpenFile(name, flags, mode)
}

func (b below) rename(from, to string) error { return b.root.Rename(from, to) }

func (b below) remove(name string) error { return b.root.Remove(name) }

func (b below) sync(folder string) error { return syncFolder(b.root.Open, folder) }

func syncFolder(open func(name string) (*os.File, error), name string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there; NTFS journals its names
	}
	dir, err := open(name)
	if err != nil {
		return err
	}
	err = dir.Sync()
	// Network and FUSE file systems that do not support it return one of these.
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
