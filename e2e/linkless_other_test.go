//go:build !linux

package e2e_test

import "errors"

func becomeLinkless([]string) error { return errors.ErrUnsupported }
