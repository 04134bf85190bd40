package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeLayout is a layout that a test writes.
type fakeLayout struct {
	t      *testing.T
	folder string
	images []descriptor
}

func newFakeLayout(t *testing.T) *fakeLayout {
	t.Helper()
	l := &fakeLayout{t: t, folder: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(l.folder, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *fakeLayout) blob(raw string) descriptor {
	l.t.Helper()
	d := descriptor{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(raw))), Size: int64(len(raw))}
	if err := os.WriteFile(filepath.Join(l.folder, filepath.FromSlash(blobPath(d))), []byte(raw), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return d
}

// add adds an image for Linux, and returns its layer.
func (l *fakeLayout) add(arch string, config imageConfig) (layer descriptor) {
	l.t.Helper()
	layer = l.blob("layer of " + arch)
	of := l.blob(fmt.Sprintf(`{"architecture":%q,"os":"linux","config":%s}`, arch, jsonOf(config)))
	image := l.blob(jsonOf(map[string]any{"config": of, "layers": []descriptor{layer}}))
	image.Platform = &platform{Architecture: arch, OS: "linux"}
	l.images = append(l.images, image)
	return layer
}

func (l *fakeLayout) tag(name string) {
	l.t.Helper()
	top := l.blob(jsonOf(imageIndex{SchemaVersion: 2, Manifests: l.images}))
	top.Annotations = map[string]string{nameAnnotation: name, "org.opencontainers.image.created": time.Now().String()}
	raw := jsonOf(imageIndex{SchemaVersion: 2, Manifests: []descriptor{l.blob("{}"), top}})
	if err := os.WriteFile(filepath.Join(l.folder, "index.json"), []byte(raw), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func TestCheckImage_WantsOneConfigurationForBothPlatforms(t *testing.T) {
	want := imageConfig{User: "65532:65532", Entrypoint: []string{"/brink"}}
	root := imageConfig{Entrypoint: []string{"/brink"}}
	for name, one := range map[string]struct {
		images map[string]imageConfig
		fault  string
	}{
		"good":              {map[string]imageConfig{"amd64": want, "arm64": want}, ""},
		"one missing":       {map[string]imageConfig{"amd64": want}, "no image for linux/arm64"},
		"one too many":      {map[string]imageConfig{"amd64": want, "arm64": want, "s390x": want}, "an image for linux/s390x"},
		"one runs as root":  {map[string]imageConfig{"amd64": want, "arm64": root}, "the configuration for linux/arm64"},
		"none of the right": {map[string]imageConfig{}, "no image for linux/amd64"},
	} {
		l := newFakeLayout(t)
		for arch, config := range one.images {
			l.add(arch, config)
		}
		l.tag("0.1.0")
		opened, err := openLayout(l.folder, "0.1.0")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = checkImage(opened, want)
		if (one.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), one.fault) {
			t.Errorf("%s: checkImage = %v, want %q", name, err, one.fault)
		}
	}
}

func TestOpenLayout_ChecksWhatItReads(t *testing.T) {
	l := newFakeLayout(t)
	layer := l.add("amd64", imageConfig{})
	l.tag("0.1.0")
	if _, err := openLayout(l.folder, "0.2.0"); err == nil {
		t.Error("a tag that is not there was found")
	}
	path := filepath.Join(l.folder, filepath.FromSlash(blobPath(layer)))
	if err := os.WriteFile(path, []byte("Layer of amd64"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openLayout(l.folder, "0.1.0"); err == nil || !strings.Contains(err.Error(), layer.Digest) {
		t.Errorf("a spoilt layer: %v", err)
	}
	err := (&layout{folder: l.folder}).load(descriptor{Digest: "../../../x"}, nil)
	if err == nil || !strings.Contains(err.Error(), "bad digest") {
		t.Errorf("a digest that leads out of the layout: %v", err)
	}
}

// TestLayout_PacksTheSameBytes: what else is in the layout, and when it was made, leave no trace.
func TestLayout_PacksTheSameBytes(t *testing.T) {
	var made [][]byte
	for i := range 2 {
		l := newFakeLayout(t)
		l.add("amd64", imageConfig{})
		l.add("arm64", imageConfig{})
		l.tag("0.1.0")
		l.blob(fmt.Sprint("left over ", i))
		opened, err := openLayout(l.folder, "0.1.0")
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "image.tar")
		if err := opened.pack(name, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, raw)
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two tars of the same images differ")
	}
	files := unpack(t, "image.tar", made[0])
	// Two files, two folders, the index, and for each platform a manifest, a configuration and a layer.
	if len(files) != 2+2+1+2*3 {
		t.Errorf("%d files were packed", len(files))
	}
	if strings.Contains(fmt.Sprint(files), "left over") || !strings.Contains(files["index.json"], `"0.1.0"`) {
		t.Errorf("packed %v", files)
	}
}

// TestImage_StartsLikeThatOfTheDockerfile: docker build makes an image that starts the same way.
func TestImage_StartsLikeThatOfTheDockerfile(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	want := (&release{}).wanted()
	for _, line := range []string{
		"ENV " + strings.Join(want.Env, " "), "ENTRYPOINT " + jsonOf(want.Entrypoint), "CMD " + jsonOf(want.Cmd),
		"VOLUME /data", "EXPOSE 8080", "COPY --from=build --chown=65532:65532 /empty /data",
	} {
		if !strings.Contains(string(dockerfile), "\n"+line+"\n") {
			t.Errorf("the Dockerfile has no line %q", line)
		}
	}
	if jsonOf(want.Volumes) != `{"/data":{}}` || jsonOf(want.ExposedPorts) != `{"8080/tcp":{}}` || want.User != "65532:65532" {
		t.Errorf("the configuration is %+v", want)
	}
}
