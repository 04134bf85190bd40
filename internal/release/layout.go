package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// nameAnnotation has the tag of an image in a layout.
const nameAnnotation = "org.opencontainers.image.ref.name"

// descriptor is a reference to a blob.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// imageIndex lists images: index.json of a layout, or the images of one tag by platform.
type imageIndex struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// imageConfig is how a container starts.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
type imageConfig struct {
	User         string
	ExposedPorts map[string]struct{}
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      map[string]struct{}
	Labels       map[string]string
}

// layout is a folder with an OCI image layout, of which one tag is used.
type layout struct {
	folder string
	top    descriptor
	blobs  []string // all that the tag needs, as paths in the layout
	images []builtImage
}

// builtImage is the image for one platform.
type builtImage struct {
	platform string // as in the index, system/architecture
	config   imageConfig
	layers   []string // paths in the layout
}

// openLayout reads the images of a tag. It checks the digest of every blob.
func openLayout(folder, tag string) (*layout, error) {
	raw, err := os.ReadFile(filepath.Join(folder, "index.json"))
	if err != nil {
		return nil, err
	}
	var index imageIndex
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	i := slices.IndexFunc(index.Manifests, func(d descriptor) bool { return d.Annotations[nameAnnotation] == tag })
	if i < 0 {
		return nil, fmt.Errorf("index.json: there is no tag %s", tag)
	}
	l := &layout{folder: folder, top: index.Manifests[i]}
	var images imageIndex
	if err := l.load(l.top, &images); err != nil {
		return nil, err
	}
	for _, d := range images.Manifests {
		if err := l.loadImage(d); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// loadImage reads the image for one platform.
func (l *layout) loadImage(d descriptor) error {
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := l.load(d, &manifest); err != nil {
		return err
	}
	var config struct {
		platform
		Config imageConfig
	}
	if err := l.load(manifest.Config, &config); err != nil {
		return err
	}
	if d.Platform == nil || *d.Platform != config.platform {
		return fmt.Errorf("%s: the platform of the index is not that of the image", d.Digest)
	}
	one := builtImage{platform: config.OS + "/" + config.Architecture, config: config.Config}
	for _, layer := range manifest.Layers {
		if err := l.load(layer, nil); err != nil {
			return err
		}
		one.layers = append(one.layers, blobPath(layer))
	}
	l.images = append(l.images, one)
	return nil
}

// load reads a blob and checks its digest. It parses it into the value unless that is nil.
func (l *layout) load(d descriptor, into any) error {
	name := blobPath(d)
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("bad digest %q", d.Digest)
	}
	raw, err := os.ReadFile(filepath.Join(l.folder, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(raw)); sum != d.Digest || int64(len(raw)) != d.Size {
		return fmt.Errorf("blob %s has %d bytes and the digest %s", d.Digest, len(raw), sum)
	}
	if !slices.Contains(l.blobs, name) {
		l.blobs = append(l.blobs, name)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// blobPath returns the path of a blob in a layout.
func blobPath(d descriptor) string { return path.Join("blobs", strings.ReplaceAll(d.Digest, ":", "/")) }

// pack writes the images of the tag, and nothing else of the layout, as a tar whose bytes depend on them and the time.
func (l *layout) pack(name string, at time.Time) error {
	top := l.top
	// regctl adds the time of the build.
	top.Annotations = map[string]string{nameAnnotation: top.Annotations[nameAnnotation]}
	index := imageIndex{
		SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []descriptor{top},
	}
	files := []file{
		{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`), mode: 0o644},
		{name: "index.json", data: []byte(jsonOf(index)), mode: 0o644},
	}
	for _, folder := range []string{"blobs/", "blobs/sha256/"} {
		files = append(files, file{name: folder, mode: 0o755})
	}
	for _, blob := range slices.Sorted(slices.Values(l.blobs)) {
		files = append(files, file{name: blob, path: filepath.Join(l.folder, filepath.FromSlash(blob)), mode: 0o644})
	}
	return create(name, func(w io.Writer) error { return writeTar(w, files, at) })
}

// jsonOf returns a value that cannot fail to encode as JSON.
func jsonOf(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
