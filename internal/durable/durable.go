// Package durable writes small files so that they survive power loss. A write that returned is on the disk with its
// name; one that was cut leaves the file as it was.
//
// The recipe is that of every program that keeps its word about this: write another file in the same folder, sync it,
// rename it, and sync the folder, because the name is the folder's content and not the file's. Rename is atomic (POSIX;
// MoveFileEx on Windows), and without the first sync a file system may make it durable before the content.
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

// Replace puts data in the place of the file at a path, or makes the file. Whoever reads it sees all of the old or all
// of the new, also when several processes replace it at the same time: the last one wins. The mode is subject to the
// umask. A crash can leave a file beside it that has its name, a dot and 26 letters and digits, and the same mode.
func Replace(name string, data []byte, mode fs.FileMode) error {
	return replace(anywhere{}, name, name+"."+rand.Text(), data, mode)
}

// ReplaceIn is [Replace] for a file below root that has one writer at a time. What a crash leaves beside it has its
// name and ".new", and is overwritten by the next ReplaceIn.
func ReplaceIn(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return replace(below{root}, name, name+".new", data, mode)
}

// Create writes a file that must not exist ([fs.ErrExist]). When it fails it leaves nothing behind.
func Create(name string, data []byte, mode fs.FileMode) error {
	return create(anywhere{}, name, data, mode)
}

// Rename gives a file or folder whose content is durable another name, durably.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return anywhere{}.sync(filepath.Dir(to))
}

// Write writes a file below root, over whatever has the name, durably but for the name: [SyncFolder] is left to the
// caller, who has more names to make durable with one sync.
func Write(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return write(below{root}, name, os.O_TRUNC, data, mode)
}

// SyncFolder makes the names in a folder below root durable: what was renamed into it stays there after power loss.
// Where a file system has nothing of the kind it does nothing.
func SyncFolder(root *os.Root, name string) error { return below{root}.sync(name) }

// disk is what the recipe needs of a file system. Its second implementation, in the tests, loses power.
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
		_ = d.remove(fresh) // it is of no use to anybody, and may hold a secret
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
		_ = d.remove(name) // the error that is returned is the one that counts
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

// anywhere is the real disk, by paths.
type anywhere struct{}

func (anywhere) open(name string, flags int, mode fs.FileMode) (file, error) {
	return os.OpenFile(name, flags, mode)
}

func (anywhere) rename(from, to string) error { return os.Rename(from, to) }

func (anywhere) remove(name string) error { return os.Remove(name) }

func (anywhere) sync(folder string) error { return syncFolder(os.Open, folder) }

// below is the real disk below a folder.
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
	// Network and FUSE file systems that have no such call say so in either way.
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
