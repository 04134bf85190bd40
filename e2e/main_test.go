// Package e2e_test runs the real program as its users do: a node is a process that can be killed, publishers and
// devices are processes that talk to it over sockets, and the tests read the files that they leave on disk directly.
//
// The life of one story: the program is built once per run into a temporary folder; [serve] starts a node on a free
// port and returns when the node is ready; [program.run] runs one command; a [relay] between the two watches the
// transfer and injects a fault at a chosen point; the result is compared byte for byte with what was published.
//
// The invariant of all stories: a device has either the old release or the new one, complete, and no process of ours
// ends with a panic, whatever was done to it.
//
// `go test ./...` runs the short form of each story. `make e2e` sets BRINK_E2E=1, which lets stories run for minutes:
// more rounds, 100,000 files, one file of 1 GiB. Random choices come from a seed that is logged; set BRINK_SEED to
// repeat them.
package e2e_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// scratch is a folder that lives as long as the run.
var scratch string

func TestMain(m *testing.M) {
	if file := os.Getenv(measureIn); file != "" {
		os.Exit(measure(file, os.Args[1:]))
	}
	if os.Getenv(linkless) != "" {
		fmt.Fprintln(os.Stderr, becomeLinkless(os.Args[1:])) // it returns only to tell why it cannot
		os.Exit(linklessFailed)
	}
	os.Exit(inScratch(m.Run))
}

func inScratch(run func() int) int {
	dir, err := os.MkdirTemp("", "brink-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left over lies in a temporary folder
	scratch = dir
	return run()
}

// build makes the program once. It must run inside a test: only then does `go test` notice which files the outcome
// depends on, and does not take the result of an older program from its cache.
var build = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || path == root {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "bin", "brink")
	cmd := exec.Command("go", "build", "-o", path, "brink/cmd/brink")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return path, nil
})

// isLong reports whether the stories may take minutes.
func isLong() bool { return os.Getenv("BRINK_E2E") == "1" && !testing.Short() }

// onlyLong skips a story that has no short form.
func onlyLong(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip("takes long: runs with BRINK_E2E=1, as `make e2e` does")
	}
}

// rounds returns how often a story is told.
func rounds(short, long int) int {
	if isLong() {
		return long
	}
	return short
}

// need returns the path of a tool that is not part of Go. Without it the test skips, or fails where BRINK_CI=1
// promises that nothing is missing.
func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	switch {
	case err != nil && os.Getenv("BRINK_CI") == "1":
		t.Fatalf("%s is missing", tool)
	case err != nil:
		t.Skipf("%s is missing here", tool)
	}
	return path
}

// chance returns the source of all that is random in a test, and tells how to draw the same again.
func chance(t *testing.T) *mrand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("BRINK_SEED"), 10, 64)
	if err != nil {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // it never fails
		seed = binary.LittleEndian.Uint64(raw[:])
	}
	t.Logf("BRINK_SEED=%d", seed)
	return mrand.New(mrand.NewPCG(seed, 0))
}
