package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// now is the time of every test.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	shop   = "com.acme.shop"
	shopID = "abcd1234"
	base   = "https://node.example/appflow"
)

// fakeEdge is a node that holds bundles in memory.
type fakeEdge struct {
	manifests map[string]*channel.Manifest // by app and channel
	bundles   map[digest.Digest]*bundle.Index
	content   map[digest.Digest]string // of files
	err       error                    // of every Index, if set
}

func (e *fakeEdge) Manifest(app, name string) *channel.Manifest { return e.manifests[app+"/"+name] }

func (e *fakeEdge) HasApp(app string) bool {
	for name := range e.manifests {
		if strings.HasPrefix(name, app+"/") {
			return true
		}
	}
	return false
}

func (e *fakeEdge) Index(id digest.Digest) (*bundle.Index, error) {
	if e.err != nil {
		return nil, e.err
	}
	if ix := e.bundles[id]; ix != nil {
		return ix, nil
	}
	return nil, problem(404, protocol.CodeUnknownBundle, "bundle is not here")
}

func (e *fakeEdge) Read(_ digest.Digest, f *bundle.File) ([]byte, error) {
	text, ok := e.content[f.Digest]
	if !ok {
		return nil, errors.New("it is lost")
	}
	return []byte(text), nil
}

func newEdge() *fakeEdge {
	return &fakeEdge{
		manifests: map[string]*channel.Manifest{},
		bundles:   map[digest.Digest]*bundle.Index{},
		content:   map[digest.Digest]string{},
	}
}

// index makes the index of some files.
func index(t testing.TB, files map[string]string) *bundle.Index {
	t.Helper()
	folder := fstest.MapFS{}
	for name, text := range files {
		folder[name] = &fstest.MapFile{Data: []byte(text)}
	}
	ix, err := bundle.Folder{FS: folder}.Index(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

// add brings a bundle in.
func (e *fakeEdge) add(t testing.TB, files map[string]string) *bundle.Index {
	t.Helper()
	ix := index(t, files)
	e.bundles[ix.Bundle()] = ix
	for i := range ix.Files {
		e.content[ix.Files[i].Digest] = files[ix.Files[i].Path]
	}
	return ix
}

func (e *fakeEdge) open(f *bundle.File) io.Reader { return strings.NewReader(e.content[f.Digest]) }

// release brings a release in.
func (e *fakeEdge) release(t testing.TB, version string, files map[string]string) channel.Release {
	t.Helper()
	ix := e.add(t, files)
	raw := ix.Encode()
	return channel.Release{
		Version: version, Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size,
		Index: digest.Sum(raw), IndexSize: int64(len(raw)), Files: len(ix.Files), Created: now,
	}
}

// page returns the files of a version that differ from those of all others.
func page(version string) map[string]string { return map[string]string{"index.html": version} }

// publish puts releases on a channel, one after the other.
func (e *fakeEdge) publish(t testing.TB, name string, releases ...channel.Release) *channel.Manifest {
	t.Helper()
	m := e.manifests[shop+"/"+name]
	if m == nil {
		m = channel.NewManifest("acme", shop, name)
	}
	for _, r := range releases {
		next, err := m.Publish(r, now)
		if err != nil {
			t.Fatal(err)
		}
		m = next
	}
	e.manifests[shop+"/"+name] = m
	return m
}

func answering(t testing.TB, e *fakeEdge) *Appflow {
	t.Helper()
	a, err := New(Config{Apps: map[string]string{shopID: shop}, Edge: e, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// members holds a decoded JSON object, with absent and null kept apart.
type members map[string]any

// check posts a body and returns what comes back under "data".
func check(t testing.TB, a *Appflow, body string) members {
	t.Helper()
	answer, err := a.Check(Query{ID: shopID, Base: base, Request: "7", Body: []byte(body)})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if answer.Status != 200 {
		t.Fatalf("%s: status %d", body, answer.Status)
	}
	return decode(t, answer.Body)["data"].(map[string]any)
}

func decode(t testing.TB, raw []byte) members {
	t.Helper()
	var m members
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return m
}

// cordova is what cordova-plugin-ionic 5.5.3 posts; snapshot is "" for a device that runs what its app came with.
func cordova(name, snapshot string) string {
	running := ""
	if snapshot != "" {
		running = fmt.Sprintf(`,"snapshot":%q,"build":101`, snapshot)
	}
	return fmt.Sprintf(`{"channel_name":%q,"app_id":"abcd1234","device":{"binary_version":"1.0.0","device_id":"dev-uuid-1",`+
		`"platform":"android","platform_version":"14"%s},"plugin_version":"5.5.3","manifest":true}`, name, running)
}

// capacitor is what @capacitor/live-updates posts.
func capacitor(snapshot string, manifest bool) string {
	running, build := "null", "null"
	if snapshot != "" {
		running, build = fmt.Sprintf("%q", snapshot), `"9492176"`
	}
	return fmt.Sprintf(`{"device":{"binary_version":"1.0","device_id":"5b0f…","platform":"ios","platform_version":"17",`+
		`"snapshot":%s,"build":%s},"app_id":"abcd1234","channel_name":"Production","is_portals":false,"plugin_version":"6","manifest":%t}`,
		running, build, manifest)
}
