//go:build !(linux || darwin || freebsd)

package database

import "os"

// On other systems the program builds and a database works, for trying things out: values are read as Badger shows
// them, and files keep their holes.

const readsLog = false

func dataEnd(_ *os.File, size int64) int64 { return size }

func syncDir(string) error { return nil }
