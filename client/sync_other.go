//go:build !linux

package client

import "os"

// startSync does nothing: only Linux has a call to start writing a file to disk.
func startSync(*os.File) {}
