//go:build !(linux || darwin || freebsd)

package database

import "os"

// On other systems a database works for development: values are read through Badger, and sparse files are not
// truncated.

const readsLog = false

func dataEnd(_ *os.File, size int64) int64 { return size }

func syncDir(string) error { return nil }
