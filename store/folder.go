package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"brink/internal/durable"
)

// The data folder:
//
//	FORMAT   one line, "brink-store 1"
//	LOCK     locked by the process that has the folder open; its text names that process
//	chunks/  the database of blobs: a value log, tuned for bulk
//	meta/    the database of records: a tree, every write synced; and HEAD, see package database
const (
	formatName    = "brink-store"
	formatVersion = 1

	formatFile = "FORMAT"
	lockFile   = "LOCK"
	chunksDir  = "chunks"
	metaDir    = "meta"
)

// openFolder creates or checks the data folder and acquires its lock.
func openFolder(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	// Check before locking, so that no file is created in a folder that is not a store.
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o640))
	switch held, err := lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock data folder: %w", err)
	case !held:
		_ = lock.Close()
		holder := "another process"
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			holder = strings.TrimSpace(string(text))
		}
		return nil, fmt.Errorf("data folder %s: %w by %s: stop it first", dir, ErrLocked, holder)
	}
	err := os.WriteFile(path, fmt.Appendf(nil, "process %d (%s)\n", os.Getpid(), filepath.Base(os.Args[0])), 0o640)
	if err == nil {
		err = checkFolder(dir)
	}
	if err == nil {
		err = writeFormat(dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// checkFolder returns ErrFormat for a folder that contains anything other than a store of this version.
func checkFolder(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if err == nil {
		name, number, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		version, err := strconv.Atoi(number)
		switch {
		case name != formatName || err != nil:
			return fmt.Errorf("data folder %s: %w: its %s file is not Brink's: if the rest is, write %q to it",
				dir, ErrFormat, formatFile, fmt.Sprintf("%s %d", formatName, formatVersion))
		case version != formatVersion:
			return fmt.Errorf("data folder %s: %w: it has format %d, this program supports only %d: use the version of Brink "+
				"that wrote it, or a later one", dir, ErrFormat, version, formatVersion)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch entry.Name() {
		case lockFile, formatFile + ".new", "lost+found": // a new file system contains the last one
		default:
			return fmt.Errorf("data folder %s: %w: it has no %s file but contains %s: use an empty folder", dir, ErrFormat,
				formatFile, entry.Name())
		}
	}
	return nil
}

// writeFormat writes the FORMAT file of a new folder, before anything else is written, so that a crash leaves either an
// empty folder or a store.
func writeFormat(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, formatFile)); err == nil {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%s %d\n", formatName, formatVersion)
	return errors.Join(durable.ReplaceIn(root, formatFile, text, 0o640), root.Close())
}
