package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

const (
	testApp    = "com.acme.shop"
	testDevice = "00009a6b-eefe-490a-9c60-8e965132ae51"
	testBase   = "https://ota.example/capgo"
)

// now is the time of every test.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// edge is a node that has everything in RAM.
type edge struct {
	t        testing.TB
	channels map[string]*channel.Manifest
	indexes  map[digest.Digest]*bundle.Index
	files    map[digest.Digest]fstest.MapFS
	brotli   map[string]int64 // sizes by path; one that is not in it has not been made

	mu     sync.Mutex
	chosen map[string]string // by device
	full   bool              // no choice can be kept
	events []Event
	checks []Check
}

func (e *edge) Channels(app string) ([]*channel.Manifest, bool) {
	if app != testApp {
		return nil, app == "com.acme.empty"
	}
	var list []*channel.Manifest
	for _, name := range slices.Sorted(maps.Keys(e.channels)) {
		list = append(list, e.channels[name])
	}
	return list, true
}

func (e *edge) Index(id digest.Digest) (*bundle.Index, error) {
	if ix := e.indexes[id]; ix != nil {
		return ix, nil
	}
	return nil, errors.New("not here")
}

func (e *edge) Read(id digest.Digest, f *bundle.File) ([]byte, error) {
	return e.files[id][f.Path].Data, nil
}

func (e *edge) Brotli(_ digest.Digest, f *bundle.File) (int64, bool) {
	size, known := e.brotli[f.Path]
	return size, known
}

func (e *edge) Chosen(_, device string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.chosen[device]
}

func (e *edge) Choose(_, device, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.full {
		return errors.New("full")
	}
	if e.chosen[device] = name; name == "" {
		delete(e.chosen, device)
	}
	return nil
}

func (e *edge) count(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, event)
}

// bundle has the edge hold a bundle of these files, and returns its index.
func (e *edge) bundle(files map[string]string) *bundle.Index {
	e.t.Helper()
	fs := fstest.MapFS{}
	for name, data := range files {
		fs[name] = &fstest.MapFile{Data: []byte(data)}
	}
	ix, err := bundle.Folder{FS: fs}.Index(context.Background())
	if err != nil {
		e.t.Fatal(err)
	}
	e.indexes[ix.Bundle()] = ix
	e.files[ix.Bundle()] = fs
	return ix
}

// release returns a release of these files.
func (e *edge) release(version string, files map[string]string, attachments ...channel.Attachment) channel.Release {
	e.t.Helper()
	ix := e.bundle(files)
	return channel.Release{
		Version: version, Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Size: ix.Archive.Size,
		Index: digest.Sum(ix.Encode()), IndexSize: int64(len(ix.Encode())), Files: len(ix.Files), Created: now,
		Attachments: attachments,
	}
}

// attach returns an attachment of these files.
func (e *edge) attach(kind string, files map[string]string) channel.Attachment {
	e.t.Helper()
	ix := e.bundle(files)
	return channel.Attachment{Kind: kind, Bundle: ix.Bundle(), Size: ix.Archive.Size}
}

func (e *edge) zip() channel.Attachment {
	return e.attach(protocol.AttachmentZip, map[string]string{protocol.ZipPath: "PK"})
}

// serve puts a manifest in force: what change makes of the one before.
func (e *edge) serve(name string, change func(*channel.Manifest) (*channel.Manifest, error)) {
	e.t.Helper()
	m := e.channels[name]
	if m == nil {
		m = channel.NewManifest("acme", testApp, name)
	}
	m, err := change(m)
	if err != nil {
		e.t.Fatal(err)
	}
	raw, err := channel.SignManifest(m, key(e.t))
	if err != nil {
		e.t.Fatal(err)
	}
	if e.channels[name], err = channel.ParseManifest(raw); err != nil {
		e.t.Fatal(err)
	}
}

func (e *edge) publish(name string, r channel.Release) {
	e.t.Helper()
	e.serve(name, func(m *channel.Manifest) (*channel.Manifest, error) { return m.Publish(r, now) })
}

func (e *edge) rules(name string, r channel.Rules) {
	e.t.Helper()
	e.serve(name, func(m *channel.Manifest) (*channel.Manifest, error) { return m.SetRules(r, now) })
}

// key is the same for all tests, since nobody checks it here.
func key(t testing.TB) channel.PrivateKey {
	t.Helper()
	k, err := channel.NewKey(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newEdge returns a server of an app like that of Capgo's own tests: production has 1.0.0 and is the default of android
// and electron, development has 1.359.0 and is that of ios, beta has 1.361.0 and can be chosen.
func newEdge(t testing.TB) (*edge, *Server) {
	t.Helper()
	e := &edge{
		t: t, channels: map[string]*channel.Manifest{}, indexes: map[digest.Digest]*bundle.Index{},
		files: map[digest.Digest]fstest.MapFS{}, brotli: map[string]int64{}, chosen: map[string]string{},
	}
	s, err := New(Config{
		Edge: e, Choices: e, Count: e.count, Now: func() time.Time { return now },
		Checked: func(c Check) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.checks = append(e.checks, c)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []struct {
		name, version string
		rules         channel.Rules
	}{
		{"production", "1.0.0", channel.Rules{Default: []channel.Platform{"android", "electron"}, SelfAssign: true}},
		{"beta", "1.361.0", channel.Rules{SelfAssign: true}},
		{"development", "1.359.0", channel.Rules{
			Platforms: []channel.Platform{"ios"}, Default: []channel.Platform{"ios"}, SelfAssign: true,
		}},
	} {
		e.publish(of.name, e.release(of.version, map[string]string{"index.html": of.version}, e.zip()))
		e.rules(of.name, of.rules)
	}
	return e, s
}

// body returns the request of Capgo's own tests, with members given as name, value, …; nil takes one out.
func body(changes ...any) []byte {
	b := map[string]any{
		"platform": "android", "device_id": testDevice, "app_id": testApp, "custom_id": "", "version_build": "1.0.0",
		"version_code": "1", "version_os": "13", "version_name": "1.0.0", "plugin_version": "7.0.0",
		"is_emulator": false, "is_prod": true,
	}
	for i := 0; i < len(changes); i += 2 {
		if b[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(b, changes[i].(string))
		}
	}
	raw, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return raw
}

// reply is an answer as a device reads it.
type reply struct {
	status int
	raw    string
	Error, Message, Kind, Version, URL, Checksum,
	Status, Channel string
	SessionKey  string `json:"session_key"`
	Link        string
	Manifest    []entry
	Major       bool
	Old         string
	AllowSet    bool
	Unset       bool
	DeviceKeyID string           `json:"deviceKeyId"`
	BundleKeyID string           `json:"bundleKeyId"`
	Results     []map[string]any `json:"results"`
	MoreInfo    map[string]any
}

func read(t testing.TB, a Answer) reply {
	t.Helper()
	r := reply{status: a.Status, raw: string(a.Body)}
	if err := json.Unmarshal(a.Body, &r); err != nil && !strings.HasPrefix(r.raw, "[") {
		t.Fatalf("the answer is no JSON: %v\n%s", err, a.Body)
	}
	return r
}

// query returns a query of the members of a body.
func query(changes ...any) func(string) string {
	var members map[string]any
	if err := json.Unmarshal(body(changes...), &members); err != nil {
		panic(err)
	}
	values := url.Values{}
	for name, value := range members {
		text, _ := json.Marshal(value)
		values.Set(name, strings.Trim(string(text), `"`))
	}
	return values.Get
}

// readAll is for gzip.
func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
