// Command release makes the files of a release from the commit that is checked out: static binaries in archives, an
// SBOM for each, a container image, release notes and SHA256SUMS. docs/release.md describes the whole process.
//
// It clones the commit into a temporary folder and tags the clone, so that nothing uncommitted gets into a release and
// the go command stamps the version. It needs Go, git and the Go module proxy, from which two pinned tools are built.
// It needs no container daemon.
//
// The invariant: the archives and the image depend on the commit, the version, the Go release and the file of
// certificates only. All times are that of the commit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

// The tools, built from source. docs/dependencies.md says why these.
const (
	sbomTool  = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"
	imageTool = "github.com/regclient/regclient/cmd/regctl@v0.11.7"
)

func main() {
	var r release
	flag.StringVar(&r.version, "version", "", "version, such as v0.1.0; default: the tag of HEAD")
	flag.StringVar(&r.out, "out", "dist", "folder for the files, which must be empty or missing")
	flag.StringVar(&r.certs, "certs", "/etc/ssl/certs/ca-certificates.crt", "root certificates for the image, PEM")
	flag.Parse()
	r.log = os.Stderr
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := r.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is one release while it is made.
type release struct {
	version string // with the v
	out     string
	certs   string
	log     io.Writer

	temp     string
	source   string    // the clone
	revision string    // full hash of the commit
	time     time.Time // of the commit
	compiler string    // go1.26.8
}

// short returns the version without the v, as file names and the program have it.
func (r *release) short() string { return strings.TrimPrefix(r.version, "v") }

func (r *release) run(ctx context.Context) (err error) {
	if entries, err := os.ReadDir(r.out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: run make clean", r.out)
	}
	if r.temp, err = os.MkdirTemp("", "brink-release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.temp)) }()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	notes, err := r.notes()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if err := r.installTools(ctx); err != nil {
		return err
	}
	for _, t := range targets() {
		if err := r.makeTarget(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.platform(), err)
		}
	}
	if err := r.makeImage(ctx); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.WriteFile(filepath.Join(r.out, "NOTES.md"), []byte(notes), 0o644); err != nil {
		return err
	}
	return writeSums(r.out)
}

// prepare finds out what is released, and clones it.
func (r *release) prepare(ctx context.Context) (err error) {
	if changed, err := r.output(ctx, ".", "git", "status", "--porcelain", "--untracked-files=no"); err != nil {
		return err
	} else if changed != "" {
		return fmt.Errorf("there are uncommitted changes, which no release would contain: commit them first\n%s", changed)
	}
	if r.revision, err = r.output(ctx, ".", "git", "rev-parse", "HEAD"); err != nil {
		return err
	}
	if r.version == "" {
		if r.version, err = r.output(ctx, ".", "git", "describe", "--tags", "--exact-match", "HEAD"); err != nil {
			return fmt.Errorf("HEAD has no tag: tag it first, or try with make release VERSION=v0.1.0-rc.1: %w", err)
		}
	}
	if err := checkVersion(r.version); err != nil {
		return err
	}
	tagged, err := r.output(ctx, ".", "git", "rev-parse", "--quiet", "--verify", "refs/tags/"+r.version+"^{commit}")
	if err == nil && tagged != r.revision {
		return fmt.Errorf("the tag %s is on commit %s, and HEAD is %s: check out the tag", r.version, tagged, r.revision)
	}
	seconds, err := r.output(ctx, ".", "git", "show", "--no-patch", "--format=%cI", "HEAD")
	if err != nil {
		return err
	}
	if r.time, err = time.Parse(time.RFC3339, seconds); err != nil {
		return err
	}
	r.time = r.time.UTC()
	repository, err := r.output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	r.source = filepath.Join(r.temp, "source")
	// The other tags are left out, because the go command might stamp one of them.
	if err := r.do(ctx, r.temp, "git", "clone", "--quiet", "--no-tags", repository, r.source); err != nil {
		return err
	}
	if err := r.do(ctx, r.source, "git", "checkout", "--quiet", "--detach", r.revision); err != nil {
		return err
	}
	if err := r.do(ctx, r.source, "git", "-c", "tag.gpgSign=false", "tag", r.version); err != nil {
		return err
	}
	r.compiler, err = r.output(ctx, r.source, "go", "env", "GOVERSION")
	return err
}

func checkVersion(version string) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version {
		return fmt.Errorf("version %q: want a semantic version with a v, such as v0.1.0", version)
	}
	return nil
}

// installTools builds the tools for this machine.
func (r *release) installTools(ctx context.Context) error {
	for _, tool := range []string{sbomTool, imageTool} {
		r.say("building %s", tool)
		cmd := r.command(ctx, r.temp, "go", "install", "-trimpath", tool)
		cmd.Env = append(cmd.Env, "GOBIN="+filepath.Join(r.temp, "tools"), "GOOS=", "GOARCH=")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", tool, err)
		}
	}
	return nil
}

// tool returns the path of a tool that was built.
func (r *release) tool(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(r.temp, "tools", name)
}

func (r *release) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.log, format+"\n", args...) // a release does not fail because nobody reads its progress
}

// command returns a command that builds the same on every machine.
func (r *release) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, r.log, r.log
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=", "CGO_ENABLED=0",
		"GOAMD64=v1", "GOARM64=v8.0")
	return cmd
}

func (r *release) do(ctx context.Context, dir, name string, args ...string) error {
	if err := r.command(ctx, dir, name, args...).Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return nil
}

// output returns what a command prints, without the white space around it.
func (r *release) output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := r.command(ctx, dir, name, args...)
	cmd.Stdout, cmd.Stderr = nil, nil // Output collects both
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
