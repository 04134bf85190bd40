package node

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"brink/bundle"
	"brink/digest"
)

// release returns the files of a version for the tests of dictionaries.
func release(version, hash string) map[string]string {
	return map[string]string{
		"app.js":                         script(version),
		"two words.js":                   script(version + "!"),
		"a+b.js":                         script(version + "?"),
		"app-" + hash + ".js":            script(version + "#"),
		"one-aaaa111" + hash[:1] + ".js": script(version + "1"),
		"one-bbbb222" + hash[:1] + ".js": script(version + "2"),
		"new.bin":                        string(noise(version[2], 5000)),
		"other.js":                       fmt.Sprintf("%x", noise(version[2], 20_000)),
		"small.js":                       fmt.Sprintf("%x %s", noise(5, 400), version),
	}
}

func filePath(id digest.Digest, escaped string) string {
	return "/v1/bundles/" + id.String() + "/files/" + escaped
}

// unpatch applies a patch.
func unpatch(t *testing.T, patch []byte, old string) string {
	t.Helper()
	r, err := bundle.DecodePatch(bytes.NewReader(patch), []byte(old), digest.SumSHA256([]byte(old)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(next)
}

func TestFile_TheSecondDeviceGetsAPatch(t *testing.T) {
	f := start(t)
	old, next := release("1.0.0", "B7x2kQ9d"), release("1.1.0", "Zz8y7X6w")
	f.publishFiles("1.0.0", old)
	id := f.publishFiles("1.1.0", next).Bundle
	f.restart() // what is known of dictionaries is not only from the publish
	for had, name := range map[string]string{"app.js": "app.js", "app-B7x2kQ9d.js": "app-Zz8y7X6w.js"} {
		dictionary := digest.SumSHA256([]byte(old[had])).Field()
		ask := func(fields ...string) (*http.Response, []byte) {
			t.Helper()
			resp, body := f.get(filePath(id, name),
				append(fields, "Accept-Encoding", "zstd, dcz", "Available-Dictionary", dictionary)...)
			if got := resp.Header.Get("Vary"); got != "Accept-Encoding, Available-Dictionary" {
				t.Errorf("%s: Vary: %s", name, got)
			}
			return resp, body
		}
		if resp, body := ask(); resp.Header.Get("Content-Encoding") != "" || string(body) != next[name] {
			t.Errorf("%s: the first device gets %d bytes of %q", name, len(body), resp.Header.Get("Content-Encoding"))
		}
		f.settle()
		patched, patch := ask()
		if patched.Header.Get("Content-Encoding") != "dcz" || len(patch) > 300 {
			t.Errorf("%s: the second device gets %d bytes of %q", name, len(patch), patched.Header.Get("Content-Encoding"))
			continue
		}
		if unpatch(t, patch, old[had]) != next[name] {
			t.Errorf("%s: the patch gives something else", name)
		}
		tag := patched.Header.Get("ETag")
		if want := fmt.Sprintf("%q", digest.Sum(patch).String()); tag != want {
			t.Errorf("%s: ETag %s, want %s", name, tag, want)
		}
		resp, part := ask("Range", "bytes=40-49", "If-Range", tag)
		if resp.StatusCode != 206 || !bytes.Equal(part, patch[40:50]) || resp.Header.Get("Content-Encoding") != "dcz" ||
			resp.Header.Get("Content-Range") != fmt.Sprintf("bytes 40-49/%d", len(patch)) {
			t.Errorf("%s: a range is %d with %d bytes, %v", name, resp.StatusCode, len(part), resp.Header)
		}
		if resp, _ := ask("If-None-Match", tag); resp.StatusCode != 304 {
			t.Errorf("%s: the same patch again is %d", name, resp.StatusCode)
		}
	}
}

func TestFile_NoPatchAgainstWhatItDidNotComeOutOf(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = 1 })
	oldest, old, next := release("1.0.0", "A7x2kQ9d"), release("1.1.0", "B7x2kQ9d"), release("1.2.0", "Zz8y7X6w")
	f.publishFiles("1.0.0", oldest)
	f.publishFiles("1.1.0", old)
	id := f.publishFiles("1.2.0", next).Bundle
	for what, test := range map[string]struct{ name, dictionary, accept string }{
		"unknown":               {"app.js", digest.SumSHA256(nil).Field(), "zstd, dcz"},
		"no digest":             {"app.js", ":aGVsbG8=:", "zstd, dcz"},
		"another file":          {"app.js", digest.SumSHA256([]byte(old["two words.js"])).Field(), "zstd, dcz"},
		"another pattern":       {"app.js", digest.SumSHA256([]byte(old["app-B7x2kQ9d.js"])).Field(), "zstd, dcz"},
		"a release too old":     {"app.js", digest.SumSHA256([]byte(oldest["app.js"])).Field(), "zstd, dcz"},
		"the same file":         {"app.js", digest.SumSHA256([]byte(next["app.js"])).Field(), "zstd, dcz"},
		"dcz not taken":         {"app.js", digest.SumSHA256([]byte(old["app.js"])).Field(), "zstd, *"},
		"nothing in common":     {"new.bin", digest.SumSHA256([]byte(old["new.bin"])).Field(), "zstd, dcz"},
		"no less than as zstd":  {"other.js", digest.SumSHA256([]byte(old["other.js"])).Field(), "dcz"},
		"too small to be worth": {"small.js", digest.SumSHA256([]byte(old["small.js"])).Field(), "zstd, dcz"},
	} {
		var resp *http.Response
		var body []byte
		for range 2 { // the second time all is made
			resp, body = f.get(filePath(id, test.name), "Accept-Encoding", test.accept, "Available-Dictionary", test.dictionary)
			f.settle()
		}
		coding := resp.Header.Get("Content-Encoding")
		if coding == "dcz" || string(decode(t, coding, body)) != next[test.name] {
			t.Errorf("%s: %d bytes of %q", what, len(body), coding)
		}
	}
}

func TestFile_IsOfferedAsDictionaryForItsNextVersions(t *testing.T) {
	f := start(t)
	id := f.publishFiles("1.0.0", release("1.0.0", "B7x2kQ9d")).Bundle
	for path, want := range map[string]string{
		filePath(id, "app.js"):                                 `match="/v1/bundles/*/files/app.js"`,
		filePath(id, "two%20words.js"):                         `match="/v1/bundles/*/files/two%20words.js"`,
		filePath(id, "app-B7x2kQ9d.js"):                        `match="/v1/bundles/*/files/app-*.js"`,
		"/appflow/bundles/" + id.String() + "/app-B7x2kQ9d.js": `match="/appflow/bundles/*/app-*.js"`,
		filePath(id, "a+b.js"):                                 "", // a plus means something in URL patterns
		filePath(id, "one-aaaa111B.js"):                        "", // which of the two became the next?
		filePath(id, "small.js"):                               "",
	} {
		resp, _ := f.get(path, "Accept-Encoding", "gzip, zstd")
		if resp.StatusCode != 200 || resp.Header.Get("Use-As-Dictionary") != want {
			t.Errorf("%s: %d, Use-As-Dictionary: %s, want %s", path, resp.StatusCode, resp.Header.Get("Use-As-Dictionary"), want)
		}
	}
	for _, accept := range []string{"", "gzip", "gzip, zstd;q=0"} {
		resp, _ := f.get(filePath(id, "app.js"), "Accept-Encoding", accept)
		if got := resp.Header.Get("Use-As-Dictionary"); got != "" {
			t.Errorf("who accepts %q, and so no patch, is offered %s", accept, got)
		}
	}
}
