package represent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/node/internal/background"
	"brink/node/internal/bundles"
	"brink/node/internal/force"
	"brink/node/internal/semantics"
	"brink/node/internal/serve"
	"brink/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// fixture is a server of two releases of an app, of which next follows old.
type fixture struct {
	*Server

	t         *testing.T
	old, next channel.Release
}

// start returns a server whose builder is idle.
func start(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := store.Open(store.Config{Dir: t.TempDir(), Quota: 1 << 30, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	hot, err := NewHot(HotConfig{Size: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hot.Close)
	state := force.NewState()
	config := Config{
		Context: ctx,
		Work:    &background.Group{Panicked: func(cause any) { t.Errorf("panic: %v", cause) }},
		Store:   s,
		State:   state,
		Bundles: bundles.New(bundles.Config{Context: ctx, Store: s, IsNamed: state.IsNamed, Alone: true, Logger: logger}),
		Hot:     hot,

		Built:    func(semantics.Coding, time.Duration) {},
		Popular:  func(*channel.Manifest) (int, bool) { return 0, false },
		Sites:    func(*channel.Manifest) []Derivation { return nil },
		Guests:   func(*channel.Manifest) []Derivation { return nil },
		Builders: 1,
		Logger:   logger,
		Now:      time.Now,
	}
	for _, c := range change {
		c(&config)
	}
	t.Cleanup(func() { cancel(); config.Work.Wait() })
	f := &fixture{t: t, Server: &Server{Builder: NewBuilder(config)}}
	f.old, f.next = f.add("1.0.0"), f.add("1.1.0")
	t.Cleanup(state.Expect(&channel.Manifest{
		Org: "acme", App: "com.acme.shop", Channel: "production", Sequence: 2,
		Release: f.next, History: []channel.Release{f.old},
	}))
	return f
}

// add puts a release into the store.
func (f *fixture) add(version string) channel.Release {
	f.t.Helper()
	dir := f.t.TempDir()
	for name, data := range map[string][]byte{"version": []byte(version), "noise": noise(1, 100_000)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	ctx := f.t.Context()
	ix, err := bundle.Folder{FS: os.DirFS(dir)}.Index(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	in, err := f.Store.Ingest(ctx, store.IngestRequest{Index: ix})
	if err != nil {
		f.t.Fatal(err)
	}
	codec, chunks := bundle.NewCodec(), bundle.NewFolderChunks(os.DirFS(dir), ix)
	for c := range ix.Chunks() {
		plain, err := chunks.Chunk(ctx, c)
		if err != nil {
			f.t.Fatal(err)
		}
		if err := in.Put(codec.Frame(plain)); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := in.Commit(ctx); err != nil {
		f.t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		f.t.Fatal(err)
	}
	b, err := f.Store.Bundle(ix.Bundle())
	if err != nil {
		f.t.Fatal(err)
	}
	return channel.Release{Version: version, Bundle: b.ID, SHA256: b.SHA256, Size: b.Index.Archive.Size}
}

// patch returns the derivation of the patch between the two archives.
func (f *fixture) patch() Derivation {
	f.t.Helper()
	d, possible := archiveDictionary(&f.old).PatchFor(ArchiveOf(&f.next))
	if !possible {
		f.t.Fatal("no patch is possible")
	}
	return d
}

// ask returns the coding of the next archive for a device that has the old one.
func (f *fixture) ask() semantics.Coding {
	f.t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.Set(fasthttp.HeaderAcceptEncoding, "zstd, dcz")
	ctx.Request.Header.Set(headerDictionary, f.old.SHA256.Field())
	of := ArchiveOf(&f.next)
	rep, err := f.choose(serve.NewRequest(&ctx, nil), of, f.Identity(of, nil))
	if err != nil {
		f.t.Fatal(err)
	}
	return rep.Coding
}

// plainOf returns a subject that has the plain bytes.
func plainOf(plain []byte) Subject {
	return Subject{Source: digest.Sum(plain), Size: int64(len(plain))}
}
