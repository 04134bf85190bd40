package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"brink/digest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClient_KeepsTheFolderAcrossProcesses(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	first := device(t, node, dir)
	update(t, first)
	if _, err := New(first.config); !errors.Is(err, ErrLocked) {
		t.Errorf("a second client on the folder: %v, want ErrLocked", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := device(t, node, dir)
	if r := update(t, second); !r.UpToDate {
		t.Errorf("after a restart: %+v", r)
	}
	config := second.config
	config.App = "com.acme.other"
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), testApp) {
		t.Errorf("the folder of another app: %v, want an error that names it", err)
	}
}

// TestClient_FinishesWhatAKillLeft makes every state of the folder that a kill can leave between two steps.
func TestClient_FinishesWhatAKillLeft(t *testing.T) {
	for name, kill := range map[string]func(t *testing.T, dir string, old, next digest.Digest){
		"before the switch of the link": func(t *testing.T, dir string, old, _ digest.Digest) {
			needLinks(t)
			relink(t, dir, bundleDir(old))
		},
		"within the switch of the link": func(t *testing.T, dir string, old, next digest.Digest) {
			needLinks(t)
			relink(t, dir, bundleDir(old))
			if err := os.Symlink(bundleDir(next), filepath.Join(dir, currentLink+".new")); err != nil {
				t.Fatal(err)
			}
		},
		"within unpacking": func(t *testing.T, dir string, _, _ digest.Digest) {
			half := filepath.Join(dir, bundlesDir, digest.Sum(nil).String()+".new")
			if err := os.MkdirAll(half, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"within writing the state": func(t *testing.T, dir string, _, _ digest.Digest) {
			if err := os.WriteFile(filepath.Join(dir, stateFile+".new"), []byte(`{"sch`), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"before removing what is old": func(t *testing.T, dir string, _, _ digest.Digest) {
			if err := os.MkdirAll(filepath.Join(dir, bundlesDir, digest.Sum(nil).String()), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEveryPlace(t, func(t *testing.T, w way) {
				node, dir := newFakeNode(t), t.TempDir()
				node.publish("1.0.0", version("1.0.0"))
				c := w.device(t, node, dir)
				old := *update(t, c).Bundle
				node.publish("1.1.0", version("1.1.0"))
				next := *update(t, c).Bundle
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				kill(t, dir, old, next)
				c = w.device(t, node, dir)
				w.wants(t, c, version("1.1.0"))
				entries, err := os.ReadDir(filepath.Join(dir, bundlesDir))
				if err != nil || len(entries) != 2 {
					t.Errorf("%d bundles are kept, %v; want the current and the previous one", len(entries), err)
				}
				if r := update(t, c); !r.UpToDate {
					t.Errorf("after that: %+v", r)
				}
			})
		})
	}
}

// TestClient_SwitchesWhileAnOldBundleIsHeld has a folder that cannot be removed, as one whose files are open on Windows.
func TestClient_SwitchesWhileAnOldBundleIsHeld(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	var held string
	hold := func(c *Config) {
		c.removeAll = func(root *os.Root, name string) error {
			if held == filepath.Join(dir, filepath.FromSlash(name)) {
				return &fs.PathError{Op: "removeall", Path: name, Err: fs.ErrPermission}
			}
			return root.RemoveAll(name)
		}
	}
	c := device(t, node, dir, hold)
	held = update(t, c).Path
	node.publish("1.1.0", version("1.1.0"))
	update(t, c)
	node.publish("1.2.0", version("1.2.0"))
	if r := update(t, c); r.Version != "1.2.0" {
		t.Errorf("with an old bundle that is held: %+v", r)
	}
	wantCurrent(t, dir, version("1.2.0"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = device(t, node, dir, hold) // it opens all the same
	if _, err := os.Stat(held); err != nil {
		t.Errorf("the bundle that is held: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	device(t, node, dir)
	if _, err := os.Stat(held); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle that was held: %v, want it to be gone", err)
	}
}

// relink makes the link as a Client would have that could make links.
func relink(t *testing.T, dir, target string) {
	t.Helper()
	link := filepath.Join(dir, currentLink)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}

func TestClient_MendsAnInstalledFileThatChanged(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		path := update(t, c).Path
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "js/app.js"), []byte("tampered"), 0o600); err != nil {
			t.Fatal(err)
		}
		c = w.device(t, node, dir)
		if r := update(t, c); r.Version != "1.0.0" || r.UpToDate {
			t.Errorf("after a file changed: %+v", r)
		}
		w.wants(t, c, version("1.0.0"))
	})
}

func TestClient_RollsBackHereAndStaysThere(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		c := w.device(t, node, dir, func(c *Config) { c.Confirm = false })
		alone := w.device(t, node, t.TempDir(), func(c *Config) { c.Nodes = nil })
		if _, err := alone.Update(context.Background()); !errors.Is(err, ErrNoNode) {
			t.Errorf("update from nowhere: %v, want ErrNoNode", err)
		}
		if _, err := c.Rollback(); !errors.Is(err, ErrNoPrevious) {
			t.Errorf("rollback of nothing: %v, want ErrNoPrevious", err)
		}
		if err := c.Confirm(); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("confirm of nothing: %v, want ErrNotInstalled", err)
		}
		node.publish("1.0.0", version("1.0.0"))
		update(t, c)
		if err := c.Confirm(); err != nil {
			t.Fatal(err)
		}
		node.publish("1.1.0", version("1.1.0"))
		update(t, c)
		node.publish("1.2.0", version("1.2.0"))
		if r := update(t, c); r.Version != "1.2.0" || r.Previous != "1.0.0" {
			t.Errorf("the version that was confirmed last must be kept: %+v", r)
		}
		if r, err := c.Rollback(); err != nil || r.Version != "1.0.0" {
			t.Fatalf("rollback: %+v, %v", r, err)
		}
		w.wants(t, c, version("1.0.0"))
		if r := update(t, c); r.Version != "1.0.0" || r.UpToDate || r.Reason != ReasonRolledBackHere {
			t.Errorf("the version that was left must not come back: %+v", r)
		}
		node.publish("1.3.0", version("1.3.0"))
		if r := update(t, c); r.Version != "1.3.0" {
			t.Errorf("the next release must come: %+v", r)
		}
	})
}
