package capgo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/publish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testApp = "com.acme.shop"

// place is an origin in memory that releases are published to.
type place struct {
	t     *testing.T
	key   channel.PrivateKey
	trust []byte

	calls    int // of all methods
	offered  []*bundle.Index
	plain    map[digest.Digest][]byte // of the chunks that were received
	manifest *channel.Manifest        // in force; nil for a new channel
	moved    *channel.Manifest        // what was published since inForce was called
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, plain: map[digest.Digest][]byte{}}
	root, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.key, err = channel.NewKey(nil); err != nil {
		t.Fatal(err)
	}
	p.trust, err = channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{p.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{p.key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"production"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) Trust(context.Context, string) ([]byte, error) {
	p.calls++
	return p.trust, nil
}

func (p *place) TrustVersion(context.Context, string, uint64) ([]byte, error) {
	p.calls++
	return nil, nil
}

func (p *place) PutTrust(context.Context, []byte) error {
	p.calls++
	return nil
}

func (p *place) Channels(context.Context) ([]publish.Place, error) {
	p.calls++
	return nil, nil
}

func (p *place) Manifest(context.Context, string, string) ([]byte, error) {
	p.calls++
	if p.manifest == nil {
		return nil, nil
	}
	return p.manifest.Raw(), nil
}

func (p *place) Upload(
	ctx context.Context, ix *bundle.Index, _ []byte, _ bool, frame publish.Frame,
) (up publish.Uploaded, err error) {
	p.calls++
	p.offered = append(p.offered, ix)
	codec := bundle.NewCodec()
	for c := range ix.Chunks() {
		if p.plain[c.Digest] != nil {
			continue
		}
		f, err := frame(ctx, c)
		if err != nil {
			return up, err
		}
		plain, err := codec.Plain(f)
		if err != nil {
			return up, err
		}
		up.Chunks++
		p.plain[c.Digest] = bytes.Clone(plain)
	}
	return up, nil
}

func (p *place) Move(_ context.Context, m *channel.Manifest) error {
	p.calls++
	p.moved = m
	return nil
}

// inForce makes what was published last the manifest in force, and returns it.
func (p *place) inForce() *channel.Manifest {
	p.t.Helper()
	if p.moved == nil {
		p.t.Fatal("the channel did not move")
	}
	p.manifest, p.moved = p.moved, nil
	return p.manifest
}

// files returns the files of the attachment of m's release, from the chunks that were received.
func (p *place) files(m *channel.Manifest, kind string) (*bundle.Index, fstest.MapFS) {
	p.t.Helper()
	a := m.Release.Attachment(kind)
	if a == nil {
		p.t.Fatalf("the release has no attachment %s, but %+v", kind, m.Release.Attachments)
	}
	i := slices.IndexFunc(p.offered, func(ix *bundle.Index) bool { return ix.Bundle() == a.Bundle })
	if i < 0 || p.offered[i].Archive.Size != a.Size {
		p.t.Fatalf("attachment %+v was not offered", a)
	}
	ix, files := p.offered[i], fstest.MapFS{}
	for i := range ix.Files {
		f := &ix.Files[i]
		var data []byte
		for _, c := range f.ChunkList() {
			data = append(data, p.plain[c.Digest]...)
		}
		if digest.Sum(data) != f.Digest {
			p.t.Fatalf("%s of attachment %s was not received", f.Path, kind)
		}
		files[f.Path] = &fstest.MapFile{Data: data}
	}
	return ix, files
}

// request is what is published: with these two attachments.
type request struct {
	publish.Request

	zip   publish.Zip
	capgo Attacher
}

// take takes what Capgo's CLI has made, encrypted or not, as the command does.
func (r *request) take(t *testing.T, made *Made) {
	t.Helper()
	if made.SessionKey != "" {
		r.capgo.Made = made
		return
	}
	given, err := made.Given()
	if err != nil {
		t.Fatal(err)
	}
	r.zip.Given = given
}

func withZip(r *request) { r.zip.Choice = publish.Wanted }

func (p *place) publish(change ...func(*request)) (publish.Result, error) {
	p.t.Helper()
	r := request{Request: publish.Request{App: testApp, Version: "1.0.0", Channel: "production"}}
	for _, c := range change {
		c(&r)
	}
	if r.Dir == "" {
		r.Dir = writeFiles(p.t, fstest.MapFS{"index.html": {Data: []byte("<!doctype html>")}})
	}
	r.Attachments = []publish.Attacher{r.zip, r.capgo}
	publisher, err := publish.New(publish.Config{Origin: p, Trust: p.trust, Keys: []channel.PrivateKey{p.key}})
	if err != nil {
		p.t.Fatal(err)
	}
	return publisher.Publish(p.t.Context(), r.Request)
}

// writeFiles makes a folder of the files.
func writeFiles(t *testing.T, files fstest.MapFS) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeTemp writes a file of a name.
func writeTemp(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// makeZip returns the bytes of the zip of files.
func makeZip(t *testing.T, files fstest.MapFS) []byte {
	t.Helper()
	p := newPlace(t)
	if _, err := p.publish(withZip, func(r *request) { r.Dir = writeFiles(t, files) }); err != nil {
		t.Fatal(err)
	}
	_, zip := p.files(p.inForce(), protocol.AttachmentZip)
	return zip[protocol.ZipPath].Data
}

func someFiles() fstest.MapFS {
	return fstest.MapFS{
		"index.html":      {Data: []byte("<!doctype html>")},
		"js/app.js":       {Data: bytes.Repeat([]byte("const a = 1;\n"), 50_000), ModTime: time.Unix(1e9, 0)},
		"größe/π.json":    {Data: []byte("{}"), Mode: 0o755},
		"empty.txt":       {},
		"with space.css":  {Data: []byte("a{}")},
		"data/packed.br":  {Data: []byte("not brotli at all")},
		"data/noise.webp": {Data: noise(70_000)},
	}
}

// noise returns bytes that do not compress.
func noise(n int) []byte {
	var b []byte
	for sum := digest.Sum(nil); len(b) < n; sum = digest.Sum(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}
