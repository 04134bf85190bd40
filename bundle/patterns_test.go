package bundle

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Patterns mean what people who write them expect, from .gitignore, shells and other tools.
func TestFolder_Exclude(t *testing.T) {
	all := []string{
		".env", ".git/config", "app.js", "app.js.map", "assets/.hidden", "assets/a.js.map", "assets/js/b.js.map",
		"assets/js/deep/c.js.map", "env", "index.html", "sub/.git/config", "sub/node_modules/x/y.js",
	}
	fsys := mapFS(map[string][]byte{})
	for _, name := range all {
		fsys[name] = mapFS(map[string][]byte{name: []byte("x")})[name]
	}
	maps := []string{"app.js.map", "assets/a.js.map", "assets/js/b.js.map", "assets/js/deep/c.js.map"}
	for pattern, want := range map[string][]string{
		"*.map":             maps,
		"**/*.map":          maps,
		"/**/*.map":         maps,
		"/*.map":            {"app.js.map"},
		"./*.map":           {"app.js.map"},
		"assets/**/*.map":   maps[1:],
		"assets/**":         {"assets/.hidden", "assets/a.js.map", "assets/js/b.js.map", "assets/js/deep/c.js.map"},
		"assets/*.map":      {"assets/a.js.map"},
		"assets/*/*.map":    {"assets/js/b.js.map"},
		"assets/js/":        {"assets/js/b.js.map", "assets/js/deep/c.js.map"},
		"assets":            {"assets/.hidden", "assets/a.js.map", "assets/js/b.js.map", "assets/js/deep/c.js.map"},
		".git":              {".git/config", "sub/.git/config"},
		".git/":             {".git/config", "sub/.git/config"},
		"/.git":             {".git/config"},
		"./.git":            {".git/config"},
		"./.git/":           {".git/config"},
		"**/.git/**":        {".git/config", "sub/.git/config"},
		".*":                {".env", ".git/config", "assets/.hidden", "sub/.git/config"},
		"{*.map,.env}":      append([]string{".env"}, maps...),
		"{assets,sub}/**":   append([]string{"assets/.hidden"}, append(slices.Clone(maps[1:]), "sub/.git/config", "sub/node_modules/x/y.js")...),
		"node_modules":      {"sub/node_modules/x/y.js"},
		"node_modules/":     {"sub/node_modules/x/y.js"},
		"[a-e]*.js":         {"app.js"},
		"?nv":               {"env"},
		`\.env`:             {".env"},
		"index.html/":       nil, // it is no folder
		"nothing*":          nil,
		"assets\\js\\*.map": nil,
	} {
		t.Run(strings.ReplaceAll(pattern, "/", "|"), func(t *testing.T) {
			var unused []string
			ix, err := Folder{
				FS: fsys, Exclude: []string{pattern}, Unused: func(p []string) { unused = p },
			}.Index(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			left := slices.Clone(all)
			patterns, err := ParsePatterns(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for i := range ix.Files {
				if patterns.Match(ix.Files[i].Path) {
					t.Errorf("%s is matched and not left out", ix.Files[i].Path)
				}
				left = slices.DeleteFunc(left, func(name string) bool { return name == ix.Files[i].Path })
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), left); diff != "" && len(want)+len(left) > 0 {
				t.Errorf("files left out (-want +got):\n%s", diff)
			}
			if got := len(unused) == 1; got != (len(want) == 0) {
				t.Errorf("unused = %q although %d files match", unused, len(want))
			}
		})
	}
}

func TestFolder_ExcludeThatCannotBe(t *testing.T) {
	fsys := mapFS(map[string][]byte{"a": []byte("x")})
	for _, pattern := range []string{"", ".", "/", "./", "!a", "[", "{a", "a["} {
		if _, err := (Folder{FS: fsys, Exclude: []string{pattern}}).Index(t.Context()); err == nil {
			t.Errorf("pattern %q was accepted", pattern)
		}
	}
}

func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"*.map", "**/*.map", "{a,b}", "[a-z]", "./x/", "/", `\`, "**", "!x"} {
		f.Add(seed, "a/b.map")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		all, err := ParsePatterns(pattern)
		if err != nil || len(pattern) > 50 || len(name) > 200 {
			return
		}
		matches := all.Match(name)
		if used := len(all.unused()) == 0; used != matches {
			t.Errorf("%q matches %q: %t, used: %t", pattern, name, matches, used)
		}
	})
}
