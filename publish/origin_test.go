package publish

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
)

// fakeOrigin keeps what is published to it in memory.
type fakeOrigin struct {
	trust    []byte
	bundles  map[digest.Digest]bool
	intents  [][]byte
	chunks   map[digest.Digest]bool
	channels map[string]*channel.Manifest
	planted  int  // how often a trust document was put
	conflict bool // somebody else moves the channel at the same time
}

func (o *fakeOrigin) Trust(context.Context, string) ([]byte, error) { return o.trust, nil }

func (o *fakeOrigin) TrustVersion(context.Context, string, uint64) ([]byte, error) { return nil, nil }

func (o *fakeOrigin) PutTrust(_ context.Context, raw []byte) error {
	o.planted++
	if o.trust == nil {
		o.trust = raw
	}
	return nil
}

func (o *fakeOrigin) Channels(context.Context) (all []Place, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.channels)) {
		app, channel, _ := strings.Cut(name, "/")
		all = append(all, Place{app, channel})
	}
	return all, nil
}

func (o *fakeOrigin) Manifest(_ context.Context, app, name string) ([]byte, error) {
	if m := o.channels[app+"/"+name]; m != nil {
		return m.Raw(), nil
	}
	return nil, nil
}

func (o *fakeOrigin) Upload(
	ctx context.Context, ix *bundle.Index, intent []byte, dryRun bool, frame Frame,
) (up Uploaded, err error) {
	codec := bundle.NewCodec()
	for c := range ix.Chunks() {
		if o.chunks[c.Digest] {
			continue
		}
		up.Chunks++
		if dryRun {
			continue
		}
		f, err := frame(ctx, c)
		if err != nil {
			return up, err
		}
		if _, err := codec.Plain(f); err != nil {
			return up, err
		}
		up.Bytes += int64(len(f.Data))
		o.chunks[c.Digest] = true
	}
	if !dryRun {
		o.bundles[ix.Bundle()] = true
		o.intents = append(o.intents, intent)
	}
	return up, nil
}

func (o *fakeOrigin) Move(_ context.Context, m *channel.Manifest) error {
	if !o.bundles[m.Release.Bundle] {
		return errors.New("its bundle is not here")
	}
	if o.conflict {
		return ErrConflict
	}
	o.channels[m.App+"/"+m.Channel] = m
	return nil
}

func TestPublish_ToAnOriginWithoutANode(t *testing.T) {
	n := newFakeNode(t) // for its keys
	o := &fakeOrigin{
		bundles: map[digest.Digest]bool{}, chunks: map[digest.Digest]bool{},
		channels: map[string]*channel.Manifest{},
	}
	p, err := New(Config{Origin: o, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(version string, dryRun bool) (Result, error) {
		return p.Publish(t.Context(), Request{
			Dir: dir, App: "com.acme.shop", Version: version, Channel: "production", DryRun: dryRun,
		})
	}
	write("one")
	if r, err := publish("1.0.0", true); err != nil || r.ChunksSent != 1 || len(o.bundles)+len(o.channels) != 0 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	if o.planted != 0 {
		t.Error("a dry run put the trust document there")
	}
	if r, err := publish("1.0.0", false); err != nil || r.ChunksSent != 1 || r.Sequence != 1 || r.Unchanged {
		t.Errorf("the first: %+v, %v", r, err)
	}
	if r, err := publish("1.0.0", false); err != nil || r.ChunksSent != 0 || !r.Unchanged {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	if o.planted != 1 {
		t.Errorf("the trust document was put %d times", o.planted)
	}
	write("two")
	if r, err := publish("1.1.0", false); err != nil || r.Sequence != 2 {
		t.Errorf("the second: %+v, %v", r, err)
	}
	trust, err := channel.LoadTrust(o.trust)
	if err != nil {
		t.Fatal(err)
	}
	m := o.channels["com.acme.shop/production"]
	if _, err := trust.VerifyManifest(m.Raw(), m.Issued); err != nil || m.Release.Version != "1.1.0" {
		t.Errorf("the channel serves %s: %v", m.Release.Version, err)
	}
	for _, raw := range o.intents {
		if _, err := trust.VerifyIntent(raw, m.Issued); err != nil {
			t.Error(err)
		}
	}
	// Whatever moves a channel there brings the trust document that allows it, and not only a release.
	o.trust, o.planted = nil, 0
	if r, err := p.Renew(t.Context(), "com.acme.shop", "production", 1000*24*time.Hour, false); err != nil || r.Renewal != 1 {
		t.Errorf("renewed: %+v, %v", r, err)
	}
	if o.planted != 1 || o.trust == nil {
		t.Errorf("the trust document was put %d times", o.planted)
	}
	write("three")
	o.conflict = true
	if _, err := publish("1.2.0", false); !errors.Is(err, ErrConflict) {
		t.Errorf("when somebody else was faster: %v", err)
	}
	if _, err := New(Config{Origin: o, Node: "http://127.0.0.1"}); err == nil {
		t.Error("a node and an origin were both taken")
	}
}
