package brink_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMakefile_HasTheVerbsThatAreNamed: pages, CI and templates call no verb that is not there.
func TestMakefile_HasTheVerbsThatAreNamed(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9]+):.*## `).FindAllSubmatch(makefile, -1) {
		verbs[string(m[1])] = true
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindSubmatch(makefile)
	if phony == nil {
		t.Fatal("there is no .PHONY")
	}
	for _, verb := range strings.Fields(string(phony[1])) {
		if !verbs[verb] {
			t.Errorf("%s is in .PHONY and has no help", verb)
		}
		delete(verbs, verb)
	}
	for verb := range verbs {
		t.Errorf("%s is not in .PHONY", verb)
	}
	for _, verb := range strings.Fields(string(phony[1])) {
		verbs[verb] = true
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "README.md", "CONTRIBUTING.md", ".ci/run", ".github/pull_request_template.md")
	call := regexp.MustCompile("(?m)(?:^|`|&& |stage [a-z]+ )make((?: [a-z0-9]+)+)")
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			for _, verb := range strings.Fields(string(m[1])) {
				found++
				if !verbs[verb] {
					t.Errorf("%s calls make %s, which is no verb", page, verb)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d calls were found", found)
	}
}

// TestRelease_UsesTheToolsThatAreExplained: docs/dependencies.md names the version of each tool of internal/release.
func TestRelease_UsesTheToolsThatAreExplained(t *testing.T) {
	source, err := os.ReadFile("internal/release/main.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	tools := regexp.MustCompile(`(?m)^\s+\w+Tool\s+= ".*/([a-z-]+)@(v[0-9.]+)"$`).FindAllSubmatch(source, -1)
	if len(tools) != 2 {
		t.Fatalf("%d tools were found, want 2", len(tools))
	}
	for _, tool := range tools {
		row := regexp.MustCompile(`(?m)^\| ` + string(tool[1]) + ` \| ` + regexp.QuoteMeta(string(tool[2])) + `\b`)
		if !row.Match(page) {
			t.Errorf("docs/dependencies.md has no row for %s %s", tool[1], tool[2])
		}
	}
}

// TestMakefile_MovesTheModule: after make module every package has the new path, and no file has the old one.
func TestMakefile_MovesTheModule(t *testing.T) {
	for _, tool := range []string{"make", "grep", "sed", "xargs"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("BRINK_CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	const name = "example.org/somebody/brink"
	dir := t.TempDir()
	copySources(t, dir)
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return string(out)
	}
	run("make", "module", "NAME="+name)
	for path := range strings.Lines(run("go", "list", "./...")) {
		if path != name+"\n" && !strings.HasPrefix(path, name+"/") {
			t.Errorf("%q is not below the new path", path)
		}
	}
	run("go", "list", "-deps", "-test", "./client", "./cmd/brink", ".") // it fails for an import that leads nowhere
	old := regexp.MustCompile(`["(* ]` + regexp.QuoteMeta(module) + `/(client|digest|store|node)\b`)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if strings.Contains(filepath.Base(path), ".before") {
			t.Errorf("%s is left over", path)
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".mod", ".yml":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if found := old.Find(text); found != nil {
			t.Errorf("%s has %q", path, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copySources copies what is in the repository, without what was built and fetched.
func copySources(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == "bin" || path == "dist" || path == "data" || path != "." && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), raw, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
