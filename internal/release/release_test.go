package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheckVersion_WantsASemanticVersionWithAV(t *testing.T) {
	for _, good := range []string{"v0.1.0", "v1.2.3-rc.1"} {
		if err := checkVersion(good); err != nil {
			t.Errorf("checkVersion(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "0.1.0", "v0.1", "v0.1.0+build", "v01.0.0", "v0.1.0/.."} {
		if err := checkVersion(bad); err == nil {
			t.Errorf("checkVersion(%q) = nil", bad)
		}
	}
}

func TestChangesOf_IsTheSectionOfTheVersion(t *testing.T) {
	changelog := "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.2.0 (2026-01-02)\n\n- two\n- more\n\n## 0.1.0\n\n- one\n"
	for version, want := range map[string]string{"v0.2.0": "- two\n- more", "v0.1.0": "- one", "v0.3.0-rc.1": "- new"} {
		if got, err := changesOf(changelog, version); got != want || err != nil {
			t.Errorf("changesOf(%s) = %q, %v, want %q", version, got, err, want)
		}
	}
	if _, err := changesOf(changelog, "v0.3.0"); err == nil || !strings.Contains(err.Error(), "0.3.0") {
		t.Errorf("changes of a version without a section: %v", err)
	}
}

// TestArchives_DependOnTheirFilesOnly: the folder that files lie in, their times and owners leave no trace.
func TestArchives_DependOnTheirFilesOnly(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)
	for name, write := range map[string]func(string, []file, time.Time) error{"a.tar.gz": writeTarGzip, "a.zip": writeZip} {
		var made [][]byte
		for i := range 2 {
			dir := t.TempDir()
			path := filepath.Join(dir, "brink")
			if err := os.WriteFile(path, []byte("program"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Time{}, at.Add(time.Duration(i)*time.Hour)); err != nil {
				t.Fatal(err)
			}
			files := []file{{name: "b/brink", path: path, mode: 0o755}, {name: "b/LICENSE", data: []byte("free"), mode: 0o644}}
			if err := write(filepath.Join(dir, name), files, at); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, raw)
		}
		if !bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: two archives of the same files differ", name)
		}
		want := map[string]string{"b/brink": "-rwxr-xr-x program", "b/LICENSE": "-rw-r--r-- free"}
		if diff := cmp.Diff(want, unpack(t, name, made[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// unpack returns the files of an archive: mode and content by name.
func unpack(t *testing.T, name string, raw []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	if filepath.Ext(name) == ".zip" {
		in, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range in.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			files[f.Name] = f.Mode().String() + " " + readAll(t, r)
		}
		return files
	}
	var in io.Reader = bytes.NewReader(raw)
	if filepath.Ext(name) == ".gz" {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = unzipped
	}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = h.FileInfo().Mode().String() + " " + readAll(t, r)
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestCheckSBOM_WantsTheModulesOfTheBinary(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8", Main: debug.Module{Version: "v0.1.0"},
		Deps: []*debug.Module{{Path: "example.org/a", Version: "v1.0.0"}},
	}
	sbom := func(format, version string, components ...string) []byte {
		text := fmt.Sprintf(`{"bomFormat":%q,"metadata":{"component":{"version":%q}},"components":[`, format, version)
		for i, c := range components {
			name, version, _ := strings.Cut(c, "@")
			text += strings.Repeat(",", min(i, 1)) + fmt.Sprintf(`{"name":%q,"version":%q}`, name, version)
		}
		return []byte(text + "]}")
	}
	const std, a = "std@go1.26.8", "example.org/a@v1.0.0"
	if err := checkSBOM(sbom("CycloneDX", "v0.1.0", a, std), info); err != nil {
		t.Errorf("checkSBOM = %v", err)
	}
	for name, bad := range map[string][]byte{
		"no JSON":         []byte("x"),
		"another format":  sbom("SPDX", "v0.1.0", a, std),
		"another version": sbom("CycloneDX", "v0.2.0", a, std),
		"one missing":     sbom("CycloneDX", "v0.1.0", std),
		"one too many":    sbom("CycloneDX", "v0.1.0", a, std, "example.org/b@v1.0.0"),
		"an older one":    sbom("CycloneDX", "v0.1.0", "example.org/a@v0.9.0", std),
	} {
		if err := checkSBOM(bad, info); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestCollectLicences_WantsOneOfEachModule(t *testing.T) {
	root, cache := t.TempDir(), t.TempDir()
	folder := filepath.Join(cache, "example.org", "!upper@v1.0.0")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{{Path: "example.org/Upper", Version: "v1.0.0"}}}
	if err := os.WriteFile(filepath.Join(root, "LICENSE"), []byte("of Go\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := collectLicences(root, cache, info); err == nil || !strings.Contains(err.Error(), "example.org/Upper v1.0.0") {
		t.Errorf("a module without a licence: %v", err)
	}
	for name, text := range map[string]string{"LICENSE.txt": "of Upper\n", "NOTICE": "by us\n", "main.go": "code"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := collectLicences(root, cache, info)
	want := "==== Go go1.26.8: LICENSE\n\nof Go\n\n==== example.org/Upper v1.0.0: LICENSE.txt\n\nof Upper\n\n" +
		"==== example.org/Upper v1.0.0: NOTICE\n\nby us\n\n"
	if string(got) != want || err != nil {
		t.Errorf("licences = %q, %v, want %q", got, err, want)
	}
}

func TestWriteSums_IsWhatSha256sumReads(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeSums(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, sumsFile))
	want := fmt.Sprintf("%x  a\n%x  b\n", sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b")))
	if string(got) != want || err != nil {
		t.Errorf("sums = %q, %v, want %q", got, err, want)
	}
}
