package e2e_test

import (
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is the files of a folder by slash-separated path.
type tree map[string]string

// readTree reads a folder, through the link that it may be.
func readTree(t *testing.T, dir string) tree {
	t.Helper()
	files, err := tryReadTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func tryReadTree(dir string) (tree, error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	files := tree{}
	return files, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path) // both are absolute or neither is
		files[filepath.ToSlash(name)] = string(content)
		return err
	})
}

// write makes a folder of a tree.
func (files tree) write(t *testing.T, dir string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// equal reports whether two trees are the same, byte for byte.
func (files tree) equal(other tree) bool {
	if len(files) != len(other) {
		return false
	}
	for name, content := range files {
		if found, ok := other[name]; !ok || found != content {
			return false
		}
	}
	return true
}

// difference names the files that are not the same in two trees, with a little of each.
func (files tree) difference(other tree) string {
	brief := func(files, than tree) map[string]string {
		found := map[string]string{}
		for name, content := range files {
			if other, there := than[name]; !there || other != content {
				found[name] = fmt.Sprintf("%d bytes: %.20q", len(content), content)
			}
		}
		return found
	}
	return cmp.Diff(brief(files, other), brief(other, files))
}

// wantTree checks that a device runs these files.
func wantTree(t *testing.T, device string, want tree) {
	t.Helper()
	got := readTree(t, filepath.Join(device, "current"))
	if !got.equal(want) {
		t.Fatalf("the device has something else than was published (-want +got):\n%.3000s", want.difference(got))
	}
}

// noise returns n bytes that do not compress.
func noise(rnd *mrand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

// prose returns about n bytes that compress as scripts do.
func prose(rnd *mrand.Rand, n int) string {
	words := []string{"function ", "return ", "const ", "(a, b) => ", "{\n", "}\n", "await ", "state.", "render", "0x", "if ", ";\n"}
	b := make([]byte, 0, n+32)
	for len(b) < n {
		b = append(b, words[rnd.IntN(len(words))]...)
		if rnd.IntN(3) == 0 {
			b = fmt.Appendf(b, "v%d", rnd.IntN(100_000))
		}
	}
	return string(b)
}

// webApp returns the files of a made-up web app of about size bytes, half of it images.
func webApp(rnd *mrand.Rand, size int) tree {
	files := tree{
		"index.html":      "<!doctype html><title>shop</title>",
		"empty":           "",
		"js/vendor.js":    prose(rnd, size/4),
		"js/main.js":      prose(rnd, size/8),
		"css/main.css":    prose(rnd, size/8),
		"img/hero.webp":   noise(rnd, size/4),
		"img/логотип.png": noise(rnd, size/8),
	}
	for i := range 24 {
		files[fmt.Sprintf("img/icons/%d.png", i)] = noise(rnd, size/8/24)
	}
	return files
}

// with returns the tree with one file more or another content.
func (files tree) with(name, content string) tree {
	next := tree{}
	for name, content := range files {
		next[name] = content
	}
	next[name] = content
	return next
}
