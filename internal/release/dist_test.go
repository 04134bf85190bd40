package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dist is a release that make release has made, in the folder that BRINK_DIST names. Its tests are skipped elsewhere,
// and in CI: making a release takes minutes.
type dist struct {
	*release

	sums []string // lines of SHA256SUMS
}

func openDist(t *testing.T) dist {
	t.Helper()
	folder := os.Getenv("BRINK_DIST")
	if folder == "" {
		t.Skip("BRINK_DIST names no release: make release runs this test")
	}
	raw, err := os.ReadFile(filepath.Join(folder, sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	d := dist{release: &release{out: folder}, sums: strings.Split(strings.TrimSpace(string(raw)), "\n")}
	for _, line := range d.sums {
		if name, ok := strings.CutSuffix(line, "_oci.tar"); ok {
			_, name, _ = strings.Cut(name, "  brink_")
			d.version = "v" + name
		}
	}
	return d
}

func (d dist) read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.out, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDist_SumsAreOfAllFiles(t *testing.T) {
	d := openDist(t)
	entries, err := os.ReadDir(d.out)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2*len(targets()) + len([]string{"image", "NOTES.md"}); len(d.sums) != want || len(entries) != want+1 {
		t.Errorf("%d sums, %d files, want %d sums and one file more", len(d.sums), len(entries), want)
	}
	for _, line := range d.sums {
		want, name, _ := strings.Cut(line, "  ")
		sum, err := sumFile(filepath.Join(d.out, name))
		if got := fmt.Sprintf("%x", sum); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
}

func TestDist_ArchivesHaveTheProgramAndItsPapers(t *testing.T) {
	d := openDist(t)
	for _, one := range targets() {
		files := unpack(t, d.archive(one), d.read(t, d.archive(one)))
		for _, name := range []string{one.program(), "LICENSE", "README.md", "LICENSES-OF-DEPENDENCIES.txt"} {
			if len(files[d.name(one)+"/"+name]) < 1000 {
				t.Errorf("%s has no %s", d.archive(one), name)
			}
			delete(files, d.name(one)+"/"+name)
		}
		for name := range files {
			t.Errorf("%s has %s", d.archive(one), name)
		}
		if one.os != runtime.GOOS || one.arch != runtime.GOARCH {
			continue
		}
		program := filepath.Join(t.TempDir(), one.program())
		d.unpackProgram(t, one, program)
		d.wantVersion(t, exec.CommandContext(t.Context(), program, "version"))
	}
}

// unpackProgram writes the program of an archive to a file.
func (d dist) unpackProgram(t *testing.T, one target, to string) {
	t.Helper()
	files := unpack(t, d.archive(one), d.read(t, d.archive(one)))
	_, program, _ := strings.Cut(files[d.name(one)+"/"+one.program()], " ")
	if err := os.WriteFile(to, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wantVersion runs brink version.
func (d dist) wantVersion(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.Env == nil {
		cmd.Env = []string{} // the program would warn of BRINK_DIST, which is not a setting
	}
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("brink %s (%s/%s, %s)\n", d.short(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	if err != nil || !bytes.HasPrefix(out, []byte(want)) {
		t.Errorf("%v: %v\n%s\nwant %s", cmd.Args, err, out, want)
	}
}

// openImage unpacks the image's layout.
func (d dist) openImage(t *testing.T) *layout {
	t.Helper()
	folder := t.TempDir()
	d.unpackTo(t, folder, d.image(), d.read(t, d.image()))
	l, err := openLayout(folder, d.short())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// unpackTo writes the files of an archive below a folder. Owners are not kept.
func (d dist) unpackTo(t *testing.T, folder, name string, raw []byte) {
	t.Helper()
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, content := range unpack(t, name, raw) {
		mode, content, _ := strings.Cut(content, " ")
		if strings.HasSuffix(name, "/") {
			err = root.MkdirAll(strings.TrimSuffix(name, "/"), 0o755)
		} else if err = root.MkdirAll(filepath.ToSlash(filepath.Dir(name)), 0o755); err == nil {
			perm := os.FileMode(0o644)
			if strings.Contains(mode, "x") {
				perm = 0o755
			}
			err = root.WriteFile(name, []byte(content), perm)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestDist_ImageHasItsConfiguration(t *testing.T) {
	d := openDist(t)
	l := d.openImage(t)
	if len(l.images) == 0 {
		t.Fatal("it has no image")
	}
	labels := l.images[0].config.Labels
	d.revision = labels["org.opencontainers.image.revision"]
	var err error
	if d.time, err = time.Parse(time.RFC3339, labels["org.opencontainers.image.created"]); err != nil {
		t.Error(err)
	}
	if err := checkImage(l, d.wanted()); err != nil {
		t.Error(err)
	}
}
