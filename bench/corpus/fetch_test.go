package corpus

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// registry is an npm client that has one tarball for everything and counts how often it is asked.
type registry struct {
	raw   []byte
	asked int
}

func (g *registry) pack(_ context.Context, _ Release, dst string) error {
	g.asked++
	return os.WriteFile(filepath.Join(dst, "whatever-1.0.0.tgz"), g.raw, 0o600)
}

func (g *registry) release() Release {
	sum := sha512.Sum512(g.raw)
	return Release{
		App: "@acme/shop", Version: "1.0.0", Built: "dist",
		Integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
	}
}

func TestFetch_BringsAReleaseOnce(t *testing.T) {
	shop := &registry{raw: tarball(t, entry{name: "package/dist/index.html", body: "<html>"})}
	root := filepath.Join(t.TempDir(), "corpus")
	var progress bytes.Buffer
	f := fetcher{root: root, pack: shop.pack, progress: &progress}
	for range 2 {
		if err := f.fetch(t.Context(), []Release{shop.release()}); err != nil {
			t.Fatal(err)
		}
	}
	if shop.asked != 1 {
		t.Errorf("the registry was asked %d times, want 1", shop.asked)
	}
	// Nothing else is left: neither the tarball nor the folder it was unpacked in.
	if diff := cmp.Diff(map[string]string{"@acme/shop/1.0.0/index.html": "<html>"}, tree(t, root)); diff != "" {
		t.Errorf("corpus (-want +got):\n%s", diff)
	}
	lines := strings.Split(strings.TrimSpace(progress.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "fetched ") || !strings.HasPrefix(lines[1], "here ") {
		t.Errorf("progress:\n%s", &progress)
	}
}

func TestFetch_RefusesAnotherTarballThanThePinned(t *testing.T) {
	shop := &registry{raw: tarball(t, entry{name: "package/dist/index.html", body: "<html>"})}
	pinned := shop.release()
	shop.raw = tarball(t, entry{name: "package/dist/index.html", body: "<evil>"})
	root := t.TempDir()
	f := fetcher{root: root, pack: shop.pack, progress: t.Output()}
	if err := f.fetch(t.Context(), []Release{pinned}); !errors.Is(err, ErrIntegrity) {
		t.Errorf("fetch = %v, want ErrIntegrity", err)
	}
	if left := tree(t, root); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestFetch_ADamagedTarballLeavesNothing(t *testing.T) {
	whole := tarball(t, entry{name: "package/dist/a.js", body: "a"}, entry{name: "package/dist/b.js", body: "b"})
	shop := &registry{raw: whole[:len(whole)-9]}
	root := t.TempDir()
	f := fetcher{root: root, pack: shop.pack, progress: t.Output()}
	if err := f.fetch(t.Context(), []Release{shop.release()}); !errors.Is(err, errTarball) {
		t.Errorf("fetch = %v, want errTarball", err)
	}
	if left := tree(t, root); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestFetch_SaysThatTheClientIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	f := fetcher{root: t.TempDir(), pack: npmPack, progress: t.Output()}
	if err := f.fetch(t.Context(), Releases()[:1]); !errors.Is(err, ErrNoClient) {
		t.Errorf("fetch = %v, want ErrNoClient", err)
	}
}

func TestFetch_ShowsWhatTheClientSaid(t *testing.T) {
	bin := t.TempDir()
	const script = "#!/bin/sh\necho 'npm error network: no such host' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("needs a shell to stand in for npm")
	}
	t.Setenv("PATH", bin)
	f := fetcher{root: t.TempDir(), pack: npmPack, progress: t.Output()}
	err := f.fetch(t.Context(), Releases()[:1])
	if err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("fetch = %v, want what npm wrote", err)
	}
}

func TestOpen_TellsMissingFromUnknown(t *testing.T) {
	root := t.TempDir()
	r := Releases()[0]
	if _, err := open(root, r.App, r.Version); !errors.Is(err, ErrMissing) {
		t.Errorf("open = %v, want ErrMissing", err)
	}
	if _, err := open(root, r.App, "0.0.0"); !errors.Is(err, ErrUnknown) {
		t.Errorf("open = %v, want ErrUnknown", err)
	}
	want := filepath.Join(root, r.App, r.Version)
	if err := os.MkdirAll(want, 0o750); err != nil {
		t.Fatal(err)
	}
	if got, err := open(root, r.App, r.Version); err != nil || got != want {
		t.Errorf("open = %q, %v, want %q", got, err, want)
	}
}

func TestPairs_AreConsecutiveReleasesOfOneApp(t *testing.T) {
	var got []string
	for _, p := range Pairs() {
		got = append(got, p.String())
	}
	want := []string{
		"swagger-ui-dist 5.34.0 -> 5.34.1",
		"swagger-ui-dist 5.34.1 -> 5.35.0",
		"@bull-board/ui 9.10.1 -> 9.10.2",
		"flowise-ui 3.1.3 -> 3.1.4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Pairs (-want +got):\n%s", diff)
	}
}

func TestNeed_EveryReleaseIsABuiltApp(t *testing.T) {
	for _, r := range Releases() {
		t.Run(r.String(), func(t *testing.T) {
			files, _, err := count(Need(t, r.App, r.Version))
			if err != nil || files < 20 {
				t.Errorf("%d files, %v", files, err)
			}
		})
	}
}
