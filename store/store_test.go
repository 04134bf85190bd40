package store_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"brink/store"
	"brink/store/storetest"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens a store and closes it when t ends.
func open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.MinFree == 0 {
		c.MinFree = 1 << 20
	}
	s, err := store.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestStore_Suite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, c store.Config) *store.Store { return open(t, c) })
}

// The environment variables that make the test binary a child of a test: what it does, and in which folder.
const (
	childVerb = "BRINK_STORE_CHILD"
	childDir  = "BRINK_STORE_DIR"
)

// child does what a test has started this process for, and reports whether it was started by a test.
func child() bool {
	switch verb := os.Getenv(childVerb); verb {
	case "":
		return false
	case "publish":
		publishForever(os.Getenv(childDir))
	case "read":
		readAll(os.Getenv(childDir))
	default:
		panic("unknown verb " + verb)
	}
	return true
}

// startChild returns the command that runs this test binary as a child.
func startChild(t *testing.T, verb, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVerb+"="+verb, childDir+"="+dir)
	return cmd
}

// silent is the testing.TB of a child: what fails ends the process.
type silent struct{ testing.TB }

func (silent) Helper()                   {}
func (silent) Context() context.Context  { return context.Background() }
func (silent) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
