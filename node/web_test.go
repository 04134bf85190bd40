package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/publish"
)

// page returns a single-page app as a bundler writes it.
func spa(version, hash string) map[string]string {
	return map[string]string{
		"index.html":                 `<!doctype html><script src="assets/app-` + hash + `.js"></script>`,
		"assets/app-" + hash + ".js": script(version),
		"assets/plain.js":            strings.Repeat("const plain = 1;\n", 300) + version,
		"docs/index.html":            "docs",
		"one-aaaa1111.bin":           string(noise(1, 2000)),
		"one-bbbb2222.bin":           string(noise(2, 2000)),
	}
}

// script returns a script of which little changes with the version, and much is left when it is compressed.
func script(version string) string {
	return fmt.Sprintf("const answer = '%x';\nversion = '%s';\n", noise(4, 50_000), version)
}

func (f *fixture) publishFiles(version string, files map[string]string) publish.Result {
	f.t.Helper()
	r, err := f.publisher().Publish(context.Background(), publish.Request{
		Dir: folder(f.t, files), App: testApp, Version: version, Channel: "production",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func TestWeb_ServesAChannelAsASite(t *testing.T) {
	f := start(t, func(c *Config) { c.Fallback = true })
	files := spa("1.0.0", "B7x2kQ9d")
	f.publishFiles("1.0.0", files)
	root := "/web/" + testApp + "/production/"
	for path, want := range map[string]struct{ file, kind, cache, dictionary string }{
		"":                       {"index.html", "text/html", "no-cache", ""},
		"index.html":             {"index.html", "text/html", "no-cache", ""},
		"docs/":                  {"docs/index.html", "text/html", "no-cache", ""},
		"settings/profile":       {"index.html", "text/html", "no-cache", ""},
		"assets/plain.js":        {"assets/plain.js", "text/javascript", "no-cache", ""},
		"assets/app-B7x2kQ9d.js": {"assets/app-B7x2kQ9d.js", "text/javascript", "immutable", `match="` + root + `assets/app-*.js"`},
		"one-aaaa1111.bin":       {"one-aaaa1111.bin", "application/octet-stream", "immutable", ""},
	} {
		resp, body := f.get(root + path)
		h := resp.Header
		if resp.StatusCode != 200 || string(body) != files[want.file] || !strings.HasPrefix(h.Get("Content-Type"), want.kind) ||
			!strings.Contains(h.Get("Cache-Control"), want.cache) || h.Get("Use-As-Dictionary") != want.dictionary ||
			h.Get("Vary") != "Accept-Encoding, Available-Dictionary" {
			t.Errorf("%q: %d with %d bytes, %v", path, resp.StatusCode, len(body), h)
		}
	}
	for _, path := range []string{"nothing.js", "assets/nothing.png", "../../../etc/passwd.js"} {
		if resp, _ := f.get(root + path); resp.StatusCode != 404 {
			t.Errorf("%q: %d, want 404", path, resp.StatusCode)
		}
	}
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, want := range map[string]string{root[:len(root)-1]: root, root + "docs": root + "docs/"} {
		if resp, _ := f.get(path); resp.StatusCode != 308 || resp.Header.Get("Location") != want {
			t.Errorf("%q: %d to %q, want %q", path, resp.StatusCode, resp.Header.Get("Location"), want)
		}
	}
}

func TestWeb_SendsTheNextVersionAsAPatch(t *testing.T) {
	f := start(t)
	old, next := spa("1.0.0", "B7x2kQ9d"), spa("1.1.0", "Zz8y7X6w")
	f.publishFiles("1.0.0", old)
	root := "/web/" + testApp + "/production/"
	f.get(root + "assets/app-B7x2kQ9d.js")
	f.publishFiles("1.1.0", next)
	if resp, _ := f.get(root + "assets/app-B7x2kQ9d.js"); resp.StatusCode != 404 {
		t.Errorf("the old file is served as %d", resp.StatusCode)
	}
	had := []byte(old["assets/app-B7x2kQ9d.js"])
	name := digest.SumSHA256(had)
	resp, body := f.get(root+"assets/app-Zz8y7X6w.js", "Accept-Encoding", "gzip, br, zstd, dcz", "Available-Dictionary", name.Field())
	if resp.Header.Get("Content-Encoding") != "dcz" || len(body) > 300 {
		t.Fatalf("the new file comes as %q with %d bytes", resp.Header.Get("Content-Encoding"), len(body))
	}
	r, err := bundle.DecodePatch(bytes.NewReader(body), had, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != next["assets/app-Zz8y7X6w.js"] {
		t.Errorf("the patch gives %d bytes, %v", len(got), err)
	}
	stranger := digest.SumSHA256([]byte("stranger"))
	resp, _ = f.get(root+"assets/app-Zz8y7X6w.js", "Accept-Encoding", "zstd, dcz", "Available-Dictionary", stranger.Field())
	if resp.Header.Get("Content-Encoding") == "dcz" {
		t.Error("a patch was sent against what the node does not know")
	}
}

func TestWeb_ServesAHostOfItsOwn(t *testing.T) {
	f := start(t, func(c *Config) { c.Sites = map[string]Site{"shop.example": {App: testApp, Channel: "production"}} })
	files := spa("1.0.0", "B7x2kQ9d")
	f.publishFiles("1.0.0", files)
	ask := func(host, path string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, f.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := f.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	if resp, body := ask("SHOP.example:8080", "/"); resp.StatusCode != 200 || body != files["index.html"] {
		t.Errorf("root: %d %s", resp.StatusCode, body)
	}
	resp, body := ask("shop.example", "/assets/app-B7x2kQ9d.js")
	if resp.StatusCode != 200 || body != files["assets/app-B7x2kQ9d.js"] || resp.Header.Get("Use-As-Dictionary") != `match="/assets/app-*.js"` {
		t.Errorf("script: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := ask("shop.example", "/livez"); resp.StatusCode != 404 {
		t.Errorf("the host of a site serves the node's own paths: %d", resp.StatusCode)
	}
	if resp, _ := ask("other.example", "/livez"); resp.StatusCode != 200 {
		t.Errorf("another host: %d", resp.StatusCode)
	}
}

func TestWeb_FollowsWhatTheChannelSays(t *testing.T) {
	f := start(t)
	ctx := context.Background()
	f.publishFiles("1.0.0", spa("1.0.0", "B7x2kQ9d"))
	f.publishFiles("1.1.0", spa("1.1.0", "Zz8y7X6w"))
	root := "/web/" + testApp + "/production/"
	change := func(turn func(m *channel.Manifest) (*channel.Manifest, error)) {
		t.Helper()
		if _, err := f.publisher().Change(ctx, testApp, "production", false, turn); err != nil {
			t.Fatal(err)
		}
	}
	change(func(m *channel.Manifest) (*channel.Manifest, error) {
		return m.SetRollout(channel.Rollout{Share: channel.Everyone / 2, From: "1.0.0"}, time.Now())
	})
	if resp, _ := f.get(root + "assets/app-B7x2kQ9d.js"); resp.StatusCode != 200 {
		t.Errorf("a browser, which has no name, is in a rollout to half of the devices: %d", resp.StatusCode)
	}
	change(func(m *channel.Manifest) (*channel.Manifest, error) { return m.CompleteRollout(time.Now()) })
	if resp, _ := f.get(root + "assets/app-Zz8y7X6w.js"); resp.StatusCode != 200 {
		t.Errorf("a browser is left out when everyone is in: %d", resp.StatusCode)
	}
	change(func(m *channel.Manifest) (*channel.Manifest, error) {
		return m.SetRules(channel.Rules{Platforms: []channel.Platform{channel.IOS}}, time.Now())
	})
	if resp, body := f.get(root); resp.StatusCode != 404 || !strings.Contains(string(body), "platform") {
		t.Errorf("a channel for iOS alone is served to browsers: %d %s", resp.StatusCode, body)
	}
}
