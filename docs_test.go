package brink_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readmeLines is how long README.md may be: what is longer than a few screens belongs in docs.
const readmeLines = 185

// tenMinutes is how many words a page of the design may have.
const tenMinutes = 2200

func TestDesign_PagesAreReadInTenMinutes(t *testing.T) {
	pages := []string{"design", "lifecycle", "invariants", "trust", "formats", "representations"}
	for _, page := range pages {
		text, err := os.ReadFile("docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(strings.Fields(string(text))); n > tenMinutes {
			t.Errorf("docs/%s.md has %d words, at most %d are allowed: split it", page, n, tenMinutes)
		}
	}
}

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
			file, part, _ := strings.Cut(link, "#")
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", name, link, err)
				continue
			}
			if part == "" {
				continue
			}
			text, err := os.ReadFile(to)
			if err != nil {
				return err
			}
			if !slices.Contains(anchors(string(text)), part) {
				t.Errorf("%s links to %s, which has no such heading", name, link)
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
	want := []string{"docs/a.md", "../b.md#part", "c d.png", "docs/ref.md", "#part", "after.md"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}

// anchors returns the names by which links reach the headings of a Markdown page, as GitHub and GitLab make them.
func anchors(markdown string) []string {
	code := regexp.MustCompile("(?ms)^```.*?^```")
	heading := regexp.MustCompile(`(?m)^#+ +(.*)$`)
	other := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	var names []string
	for _, m := range heading.FindAllStringSubmatch(code.ReplaceAllString(markdown, ""), -1) {
		names = append(names, strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

func TestAnchors_AreThoseOfHeadings(t *testing.T) {
	got := anchors("# The `serve` verb, and why\n## A/B tests\n```\n# no heading\n```\ntext # no heading\n### 1. One\n")
	want := []string{"the-serve-verb-and-why", "ab-tests", "1-one"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

// links returns the targets of a Markdown page's links within the repository, without those in code.
func links(markdown string) []string {
	code := regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
	target := regexp.MustCompile(`(?m)\]\(\s*([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)`)
	var found []string
	for _, m := range target.FindAllStringSubmatch(code.ReplaceAllString(markdown, ""), -1) {
		u, err := url.Parse(m[1] + m[2])
		if err != nil || u.IsAbs() || u.Host != "" {
			continue
		}
		link := u.Path
		if u.Fragment != "" {
			link += "#" + u.Fragment
		}
		found = append(found, link)
	}
	return found
}

// TestDocs_NameTestsThatExist: no page promises anything by a test that is not there.
func TestDocs_NameTestsThatExist(t *testing.T) {
	defined := map[string]bool{}
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
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
	pages, err := fs.Glob(os.DirFS("."), "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, page := range append(pages, "SECURITY.md", "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllSubmatch(text, -1) {
			count[page]++
			if !defined[string(m[1])] {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
	for _, page := range []string{"SECURITY.md", "docs/invariants.md"} {
		if count[page] < 50 {
			t.Errorf("%s names only %d tests", page, count[page])
		}
	}
}

// TestPackages_SayIfTheyAreNoAPI: what other modules may import is listed in CONTRIBUTING.md, and every other package is
// internal, a program, a helper of tests, or says so.
func TestPackages_SayIfTheyAreNoAPI(t *testing.T) {
	api := []string{
		"bundle", "channel", "client", "digest", "node", "node/tally", "protocol", "protocol/capgo", "publish", "publish/capgo",
	}
	comments := map[string]string{} // by folder
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "internal" || entry.Name() == "bench" || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir(), path.Ext(name) != ".go", strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err == nil && file.Name.Name != "main" && !strings.HasSuffix(file.Name.Name, "test") {
			comments[path.Dir(name)] += file.Doc.Text()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range api {
		if _, exists := comments[name]; !exists {
			t.Errorf("package %s does not exist", name)
		}
	}
	for name, comment := range comments {
		says := strings.Contains(comment, "not an API for other modules")
		if public := slices.Contains(api, name) || name == "."; public == says {
			t.Errorf("package %s: it is an API: %t, and it says that it is not: %t", name, public, says)
		}
	}
}
