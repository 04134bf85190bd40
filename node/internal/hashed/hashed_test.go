package hashed

import (
	"strings"
	"testing"

	"brink/bench/cost"
)

func TestPattern_SeesHashesAndNothingElse(t *testing.T) {
	for name, want := range map[string]string{
		"assets/index-B7x2kQ9d.js":        "assets/index-*.js",
		"assets/index-B7x2kQ9d.js.map":    "assets/index-*.js.map",
		"main.8f3a2b1c.css":               "main.*.css",
		"js/app.8f3a2b1c9d0e.min.js":      "js/app.*.min.js",
		"chunk-2XH5QWZP.js":               "chunk-*.js",
		"a/b-c/logo.5d41402abc4b2a76.png": "a/b-c/logo.*.png",
	} {
		if got, ok := Pattern(name); !ok || got != want {
			t.Errorf("Pattern(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{
		"index.html", "app.js", "user-settings.js", "swagger-ui-bundle.js", "report-20240115.html", "Component1.js",
		"jquery-3.7.1.min.js", "bootstrap5min.js", "oauth2-callback.js", "de-adbeef.js", "deadbeef.js", "a-UserSettings.js",
		"font-awesome4.woff2", "README", "x.tar.gz", "v1.2.3/app.js",
	} {
		if pattern, ok := Pattern(name); ok {
			t.Errorf("Pattern(%q) sees %q", name, pattern)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, name := range []string{"assets/index-B7x2kQ9d.js", "main.8f3a2b1c.css", "a.b-c.d"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var pattern string
		var ok bool
		cost.Check(t, len(name), func() { pattern, ok = Pattern(name) })
		if ok && strings.Count(pattern, "*") != strings.Count(name, "*")+1 {
			t.Errorf("Pattern(%q) = %q", name, pattern)
		}
	})
}
