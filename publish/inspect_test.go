package publish

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"brink/bundle"
	"brink/channel"
)

// pemKey returns a private key as brink key new writes it.
func pemKey(t *testing.T) string {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestInspect_WarnsOfWhatIsRarelyWanted(t *testing.T) {
	key := pemKey(t)
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string][]string // by code
	}{
		"nothing": {
			map[string]string{"index.html": "hello", "js/app.js": "1", "keys.js": "let key", "map/index.html": "x"},
			map[string][]string{},
		},
		"a program that mentions keys": {
			map[string]string{"index.html": "x", "forge.js": `s = "-----BEGIN PRIVATE KEY-----\n" + b + "\n-----END PRIVATE KEY-----"`},
			map[string][]string{},
		},
		"a certificate": {
			map[string]string{"index.html": "x", "ca.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
			map[string][]string{},
		},
		"private keys": {
			map[string]string{
				"index.html": "x", "signing.pem": "\n" + key, "deep/er/id_rsa": "# mine\r\n" + strings.ReplaceAll(key, "\n", "\r\n"),
				".capgo_key_v2": "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
			},
			map[string][]string{WarnPrivateKey: {".capgo_key_v2", "deep/er/id_rsa", "signing.pem"}},
		},
		"secrets": {
			map[string]string{"index.html": "x", ".env": "A=1", "sub/.env.local": "A=1", ".npmrc": "t", "a.p12": "p", ".ssh/known_hosts": "h"},
			map[string][]string{WarnSecret: {".env", ".npmrc", ".ssh/known_hosts", "a.p12", "sub/.env.local"}},
		},
		"a repository": {
			map[string]string{"index.html": "x", ".git/config": "c", ".git/HEAD": "h"},
			map[string][]string{WarnRepository: {".git/HEAD", ".git/config"}},
		},
		"source maps": {
			map[string]string{"index.html": "x", "app.js.map": "{}", "css/a.css.map": "{}"},
			map[string][]string{WarnSourceMap: {"app.js.map", "css/a.css.map"}},
		},
		"leftovers": {
			map[string]string{"index.html": "x", "sub/.DS_Store": "d", "node_modules/a/b.js": "1"},
			map[string][]string{WarnLeftover: {"node_modules/a/b.js", "sub/.DS_Store"}},
		},
		"no page": {
			map[string]string{"app.js": "1"},
			map[string][]string{WarnNoIndex: nil},
		},
		"a page further down": {
			map[string]string{"browser/index.html": "x", "browser/en/help/index.html": "x", "main.js": "1"},
			map[string][]string{WarnNoIndex: {"browser/index.html"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for path, content := range c.files {
				files[path] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
			}
			ix, err := bundle.Folder{FS: files}.Index(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := Inspect(files, ix)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, w := range warnings {
				got[w.Code] = w.Files
				if w.Message == "" || w.Count != len(w.Files) {
					t.Errorf("warning %+v has no message, or a wrong count", w)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPublish_RefusesPrivateKeysBeforeAnythingIsSent(t *testing.T) {
	n := newFakeNode(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"index.html": "hello", "signing.pem": pemKey(t), "app.js.map": "{}", ".env": "A=1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := New(Config{Node: n.URL, Keys: []channel.PrivateKey{n.key}, Trust: n.trust})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	request := Request{
		Dir: dir, App: testApp, Version: "1.0.0", Channel: "production", Exclude: []string{"*.bak"},
		Warn: func(w Warning) {
			told = append(told, w.Code)
			if len(n.offered) > 0 {
				t.Errorf("warned of %s after the bundle was offered", w.Code)
			}
		},
	}
	_, err = p.Publish(t.Context(), request)
	refused, ok := errors.AsType[*PrivateKeyError](err)
	if !ok || !slices.Equal(refused.Files, []string{"signing.pem"}) || len(n.calls) > 0 {
		t.Fatalf("Publish = %v after %d requests, want a PrivateKeyError before any", err, len(n.calls))
	}
	request.AllowPrivateKeys, told = true, nil
	result, err := p.Publish(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{WarnUnusedPattern, WarnPrivateKey, WarnSecret, WarnSourceMap}
	if diff := cmp.Diff(want, told); diff != "" || len(result.Warnings) != len(want) {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if result.Files != 4 {
		t.Errorf("%d files were published, want 4", result.Files)
	}
}

func TestPublish_ExcludesWhatItWarnsOf(t *testing.T) {
	n := newFakeNode(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "hello", "app.js.map": "{}", ".env": "A=1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := New(Config{Node: n.URL, Keys: []channel.PrivateKey{n.key}, Trust: n.trust})
	if err != nil {
		t.Fatal(err)
	}
	result, err := p.Publish(t.Context(), Request{
		Dir: dir, App: testApp, Version: "1.0.0", Channel: "production", ExcludeWarned: true,
	})
	if err != nil || result.Files != 1 || len(result.Warnings) != 0 {
		t.Errorf("Publish = %d files, warnings %v, %v; want index.html alone", result.Files, result.Warnings, err)
	}
}
