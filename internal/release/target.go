package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// target is a system that the program is built for.
type target struct {
	os, arch string
	tried    bool // the tests ran on it
}

func targets() []target {
	return []target{
		{os: "linux", arch: "amd64", tried: true},
		{os: "linux", arch: "arm64"},
		{os: "darwin", arch: "arm64"},
		{os: "darwin", arch: "amd64"},
		{os: "windows", arch: "amd64"},
	}
}

func (t target) platform() string { return t.os + "/" + t.arch }

// program returns the file name of the binary.
func (t target) program() string {
	if t.os == "windows" {
		return "brink.exe"
	}
	return "brink"
}

// name returns the name of the release for the target, without an extension.
func (r *release) name(t target) string { return "brink_" + r.short() + "_" + t.os + "_" + t.arch }

// archive returns the file name of the archive.
func (r *release) archive(t target) string {
	if t.os == "windows" {
		return r.name(t) + ".zip"
	}
	return r.name(t) + ".tar.gz"
}

// binary returns the path of the binary.
func (r *release) binary(t target) string { return filepath.Join(r.temp, t.os+"_"+t.arch, t.program()) }

// makeTarget builds the binary and writes its SBOM and its archive.
func (r *release) makeTarget(ctx context.Context, t target) error {
	r.say("building %s", t.platform())
	cmd := r.command(ctx, r.source, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags", "-s -w",
		"-o", r.binary(t), "./cmd/brink")
	cmd.Env = append(cmd.Env, "GOOS="+t.os, "GOARCH="+t.arch)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	info, err := buildinfo.ReadFile(r.binary(t))
	if err != nil {
		return err
	}
	if info.Main.Version != r.version {
		return fmt.Errorf("the binary is stamped %q, want %q", info.Main.Version, r.version)
	}
	if err := r.makeSBOM(ctx, t, info); err != nil {
		return fmt.Errorf("SBOM: %w", err)
	}
	licences, err := r.licences(ctx, info)
	if err != nil {
		return fmt.Errorf("licences: %w", err)
	}
	files := []file{{name: t.program(), path: r.binary(t), mode: 0o755}}
	for _, name := range []string{"LICENSE", "README.md"} {
		files = append(files, file{name: name, path: filepath.Join(r.source, name), mode: 0o644})
	}
	files = append(files, file{name: "LICENSES-OF-DEPENDENCIES.txt", data: licences, mode: 0o644})
	for i := range files {
		files[i].name = r.name(t) + "/" + files[i].name
	}
	write := writeTarGzip
	if t.os == "windows" {
		write = writeZip
	}
	return write(filepath.Join(r.out, r.archive(t)), files, r.time)
}

// makeSBOM writes the SBOM of a binary, and checks that it lists what was linked.
func (r *release) makeSBOM(ctx context.Context, t target, info *buildinfo.BuildInfo) error {
	out, err := filepath.Abs(filepath.Join(r.out, r.name(t)+".cdx.json"))
	if err != nil {
		return err
	}
	cmd := r.command(ctx, r.source, r.tool("cyclonedx-gomod"), "app", "-json", "-licenses", "-std", "-noserial",
		"-notimestamp", "-main", "cmd/brink", "-output", out, ".")
	cmd.Env = append(cmd.Env, "GOOS="+t.os, "GOARCH="+t.arch)
	if err := cmd.Run(); err != nil {
		return err
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	return checkSBOM(raw, info)
}

// checkSBOM checks that a CycloneDX document is of the version that a binary is stamped with, and that it lists the
// modules that are linked into it, and the standard library.
func checkSBOM(raw []byte, info *buildinfo.BuildInfo) error {
	type component struct{ Name, Version string }
	var sbom struct {
		BOMFormat  string
		Metadata   struct{ Component component }
		Components []component
	}
	if err := json.Unmarshal(raw, &sbom); err != nil {
		return err
	}
	if sbom.BOMFormat != "CycloneDX" {
		return fmt.Errorf("its format is %q", sbom.BOMFormat)
	}
	if got := sbom.Metadata.Component.Version; got != info.Main.Version {
		return fmt.Errorf("it is of version %q, and the binary of %q", got, info.Main.Version)
	}
	want := []string{"std@" + info.GoVersion}
	for _, m := range info.Deps {
		want = append(want, m.Path+"@"+m.Version)
	}
	var got []string
	for _, c := range sbom.Components {
		got = append(got, c.Name+"@"+c.Version)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("it lists other modules than the binary has:\n%s\n\nwant\n%s",
			strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// licences returns the licences and notices of all that is linked into a binary.
func (r *release) licences(ctx context.Context, info *buildinfo.BuildInfo) ([]byte, error) {
	root, err := r.output(ctx, r.source, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	cache, err := r.output(ctx, r.source, "go", "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	return collectLicences(root, cache, info)
}
