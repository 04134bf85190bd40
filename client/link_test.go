package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// way is a kind of place that a device works in.
type way struct {
	links bool
}

// inEveryPlace runs a test where symbolic links can be made and where they are refused.
func inEveryPlace(t *testing.T, run func(t *testing.T, w way)) {
	t.Helper()
	t.Run("with links", func(t *testing.T) {
		needLinks(t)
		run(t, way{links: true})
	})
	t.Run("without links", func(t *testing.T) { run(t, way{links: false}) })
}

func needLinks(t *testing.T) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := symlink(root, "to", "link"); err != nil {
		t.Skipf("there are no links here: %v", err)
	}
}

func (w way) device(t *testing.T, node *fakeNode, dir string, change ...func(*Config)) *Client {
	t.Helper()
	if w.links {
		return device(t, node, dir, change...)
	}
	return device(t, node, dir, append(change, refuseLinks(syscall.EPERM))...)
}

func refuseLinks(why error) func(*Config) {
	return func(c *Config) {
		c.symlink = func(_ *os.Root, target, name string) error {
			return &os.LinkError{Op: "symlinkat", Old: target, New: name, Err: why}
		}
	}
}

// wants checks what the app would see by either way, and that there are no two truths.
func (w way) wants(t *testing.T, c *Client, want map[string]string) {
	t.Helper()
	wantCurrent(t, c.config.Dir, want)
	path, err := c.Path()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, tree(t, path)); diff != "" {
		t.Fatalf("what is in Path is not what it should be:\n%.2000s", diff)
	}
	if w.links {
		wantLink(t, c.config.Dir, path)
	} else {
		wantNoLink(t, c.config.Dir)
	}
}

func wantLink(t *testing.T, dir, path string) {
	t.Helper()
	if to, err := os.Readlink(filepath.Join(dir, currentLink)); err != nil || filepath.Join(dir, to) != path {
		t.Errorf("the link is to %q (%v), want %q", to, err, path)
	}
}

func wantNoLink(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{currentLink, currentLink + ".new"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the link %s: %v, want none", name, err)
		}
	}
}

// TestClient_GoesOnWithoutLinksAndBack has a folder that was made where links can be made.
func TestClient_GoesOnWithoutLinksAndBack(t *testing.T) {
	needLinks(t)
	for name, why := range map[string]error{
		"permitted":        syscall.EPERM,
		"allowed":          syscall.EACCES,
		"known":            syscall.ENOSYS,
		"known on Windows": errors.ErrUnsupported,
	} {
		t.Run("not "+name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.publish("1.0.0", version("1.0.0"))
			with, without := way{links: true}, way{links: false}
			c := with.device(t, node, dir)
			update(t, c)
			with.wants(t, c, version("1.0.0"))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}

			node.publish("1.1.0", version("1.1.0"))
			c = device(t, node, dir, refuseLinks(why))
			if r := update(t, c); r.Version != "1.1.0" || r.Previous != "1.0.0" || !r.Patched {
				t.Errorf("where links are refused: %+v", r)
			}
			without.wants(t, c, version("1.1.0"))
			if _, err := c.Rollback(); err != nil {
				t.Fatal(err)
			}
			without.wants(t, c, version("1.0.0"))
			node.publish("1.2.0", version("1.2.0"))
			update(t, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}

			c = with.device(t, node, dir)
			with.wants(t, c, version("1.2.0"))
			if r := update(t, c); !r.UpToDate {
				t.Errorf("where links can be made again: %+v", r)
			}
		})
	}
}

// A link that cannot be made for another reason is an error as before: the one that is there is not taken away for it.
func TestClient_TellsWhenALinkFails(t *testing.T) {
	needLinks(t)
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir)
	before := update(t, c).Path
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	node.publish("1.1.0", version("1.1.0"))
	c = device(t, node, dir, refuseLinks(syscall.EIO))
	if _, err := c.Update(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("Update = %v, want the error of the disk", err)
	}
	wantLink(t, dir, before)
	wantCurrent(t, dir, version("1.1.0"))
}

// TestClient_LeavesTheRunningAppItsFiles has an app that was begun before an update and goes on reading.
func TestClient_LeavesTheRunningAppItsFiles(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		if path, err := c.Path(); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("Path = %s, %v, want ErrNotInstalled", path, err)
		}
		if r := update(t, c); r.Path != filepath.Join(dir, filepath.FromSlash(bundleDir(*r.Bundle))) {
			t.Errorf("the path is %q", r.Path)
		}
		runs, err := c.Path()
		if err != nil {
			t.Fatal(err)
		}
		node.publish("1.1.0", version("1.1.0"))
		update(t, c)
		w.wants(t, c, version("1.1.0"))
		if diff := cmp.Diff(version("1.0.0"), tree(t, runs)); diff != "" {
			t.Errorf("the files of the running app changed:\n%.2000s", diff)
		}
	})
}
