package brink_test

import (
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readmeLines is how long README.md may be: what is longer than a few screens belongs in docs.
const readmeLines = 150

func TestReadme_IsShort(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > readmeLines {
		t.Errorf("README.md has %d lines, at most %d are allowed: move what is not needed first to docs", n, readmeLines)
	}
}

func TestDocs_EveryLinkIntoTheRepositoryLeadsSomewhere(t *testing.T) {
	pages := 0
	// The walk also tells `go test` what this package's tests depend on: every folder's list of files with their times.
	// Without it a cached "ok" would outlive a new import or a removed page.
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if path.Ext(name) != ".md" {
			return nil
		}
		pages++
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, link := range links(string(text)) {
			if _, err := os.Stat(path.Join(path.Dir(name), link)); err != nil {
				t.Errorf("%s links to %s: %v", name, link, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages == 0 {
		t.Error("no page was found")
	}
}

func TestLinks_AreThoseThatStayInTheRepository(t *testing.T) {
	got := links("# Title\n[a](docs/a.md), [b](../b.md#part \"title\") and ![c](c%20d.png)\n" +
		"[ref]: docs/ref.md\n[site](https://example.com/x) [part](#part) [mail](mailto:a@example.com) `[code](no.md)`\n" +
		"```\n[fence](no.md)\n```\n[after](after.md)\n")
	want := []string{"docs/a.md", "../b.md", "c d.png", "docs/ref.md", "after.md"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

// links returns the targets of a Markdown page's links to files, without code and without parts of pages.
func links(markdown string) []string {
	code := regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
	target := regexp.MustCompile(`(?m)\]\(\s*([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)`)
	var found []string
	for _, m := range target.FindAllStringSubmatch(code.ReplaceAllString(markdown, ""), -1) {
		u, err := url.Parse(m[1] + m[2])
		if err != nil || u.IsAbs() || u.Host != "" || u.Path == "" {
			continue
		}
		found = append(found, u.Path)
	}
	return found
}

// TestSecurity_NamesTestsThatExist: SECURITY.md promises nothing that no test shows.
func TestSecurity_NamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := os.ReadFile(name)
		for _, m := range test.FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllSubmatch(text, -1)
	if len(named) < 50 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !defined[string(m[1])] {
			t.Errorf("%s is no test", m[1])
		}
	}
}
