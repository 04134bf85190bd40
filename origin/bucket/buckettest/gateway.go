package buckettest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The real S3 server that tests run.
const (
	gatewayModule  = "github.com/versity/versitygw/cmd/versitygw"
	gatewayVersion = "v1.8.0"
)

// Gateway returns the program of a real S3 server, built outside this module so that go.mod does not gain what it is
// made of, and kept for the next run.
func Gateway(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "brink-tests", "versitygw-"+gatewayVersion)
	program := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	cmd := exec.CommandContext(t.Context(), "go", "install", gatewayModule+"@"+gatewayVersion)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", gatewayModule, err, out)
	}
	return program
}
