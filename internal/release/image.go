package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// nonRoot is the user and the group that the image runs as, the number of distroless' nonroot.
const nonRoot = 65532

// image returns the file name of the image.
func (r *release) image() string { return "brink_" + r.short() + "_oci.tar" }

// makeImage writes the image: an OCI layout in a tar, with one index for the Linux targets.
func (r *release) makeImage(ctx context.Context) error {
	r.say("building the image")
	certs, err := os.ReadFile(r.certs)
	if err != nil {
		return fmt.Errorf("root certificates: %w: name a PEM file by CERTS=FILE, or install ca-certificates", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(certs) {
		return fmt.Errorf("root certificates: %s holds none", r.certs)
	}
	index := []string{"index", "create", "ocidir://image:" + r.short()}
	for _, pair := range r.labels() {
		index = append(index, "--annotation", pair)
	}
	for _, t := range targets() {
		if t.os != "linux" {
			continue
		}
		if err := r.addPlatform(ctx, t, certs); err != nil {
			return fmt.Errorf("%s: %w", t.platform(), err)
		}
		index = append(index, "--ref", "ocidir://image:"+t.arch)
	}
	if err := r.do(ctx, r.temp, r.tool("regctl"), index...); err != nil {
		return err
	}
	layout, err := openLayout(filepath.Join(r.temp, "image"), r.short())
	if err != nil {
		return err
	}
	if err := checkImage(layout, r.wanted()); err != nil {
		return err
	}
	return layout.pack(filepath.Join(r.out, r.image()), r.time)
}

// addPlatform adds the image of one target to the layout in the temporary folder, tagged with the architecture.
func (r *release) addPlatform(ctx context.Context, t target, certs []byte) error {
	layer := filepath.Join(r.temp, t.arch+".tar")
	files := imageFiles(r.binary(t), certs)
	if err := create(layer, func(w io.Writer) error { return writeTar(w, files, r.time) }); err != nil {
		return err
	}
	at, tag := r.time.Format(time.RFC3339), "ocidir://image:"+t.arch
	err := r.do(ctx, r.temp, r.tool("regctl"), "image", "create", tag, "--platform", t.platform(), "--created", at)
	if err != nil {
		return err
	}
	want := r.wanted()
	args := []string{
		"image", "mod", tag, "--replace", "--config-time", "set=" + at, "--layer-add", "tar=" + layer, "--user", want.User,
		"--config-entrypoint", jsonOf(want.Entrypoint), "--config-cmd", jsonOf(want.Cmd),
	}
	for _, env := range want.Env {
		args = append(args, "--env", env)
	}
	for port := range want.ExposedPorts {
		args = append(args, "--expose-add", port)
	}
	for volume := range want.Volumes {
		args = append(args, "--volume-add", volume)
	}
	for _, label := range r.labels() {
		args = append(args, "--label", label)
	}
	return r.do(ctx, r.temp, r.tool("regctl"), args...)
}

// imageFiles returns what is in the image: the program, the certificates that an origin over TLS is checked with, a
// folder for data, and one for temporary files.
func imageFiles(binary string, certs []byte) []file {
	return []file{
		{name: "brink", path: binary, mode: 0o755},
		{name: "data/", mode: 0o755, uid: nonRoot}, // a new volume takes the owner of the folder it covers
		{name: "etc/", mode: 0o755},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", data: certs, mode: 0o644},
		{name: "tmp/", mode: 0o1777},
	}
}

// wanted returns the configuration of the image, which is that of the Dockerfile but for the health check, which OCI
// does not have.
func (r *release) wanted() imageConfig {
	labels := map[string]string{}
	for _, l := range r.labels() {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	return imageConfig{
		User:         fmt.Sprintf("%d:%d", nonRoot, nonRoot),
		Entrypoint:   []string{"/brink"},
		Cmd:          []string{"serve"},
		Env:          []string{"BRINK_DATA=/data", "BRINK_LISTEN=:8080"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Volumes:      map[string]struct{}{"/data": {}},
		Labels:       labels,
	}
}

func (r *release) labels() []string {
	return []string{
		"org.opencontainers.image.title=brink",
		"org.opencontainers.image.description=Over-the-air updates for app web layers",
		"org.opencontainers.image.version=" + r.short(),
		"org.opencontainers.image.revision=" + r.revision,
		"org.opencontainers.image.created=" + r.time.Format(time.RFC3339),
		"org.opencontainers.image.licenses=Apache-2.0",
	}
}

// checkImage checks that an image has the configuration wanted, for each of the Linux targets.
func checkImage(l *layout, want imageConfig) error {
	var errs []error
	missing := map[string]bool{}
	for _, t := range targets() {
		if t.os == "linux" {
			missing[t.platform()] = true
		}
	}
	for _, one := range l.images {
		if !missing[one.platform] {
			errs = append(errs, fmt.Errorf("it has an image for %s, or two", one.platform))
		}
		delete(missing, one.platform)
		if got, want := jsonOf(one.config), jsonOf(want); got != want {
			errs = append(errs, fmt.Errorf("the configuration for %s is %s, want %s", one.platform, got, want))
		}
	}
	for platform := range missing {
		errs = append(errs, fmt.Errorf("it has no image for %s", platform))
	}
	return errors.Join(errs...)
}
