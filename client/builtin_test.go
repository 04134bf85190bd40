package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/channel"
)

// revert has the channel send devices back to what their native apps came with.
func (n *fakeNode) revert() {
	n.t.Helper()
	next, err := n.current.Revert(time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(next)
}

func TestClient_GoesBackToTheBuiltIn(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		update(t, c)
		node.publish("1.1.0", version("1.1.0"))
		runs := update(t, c)
		node.revert()
		r := update(t, c)
		if r.Decision != channel.BuiltIn || r.Version != "" || r.Path != "" || r.Previous != "" || r.UpToDate {
			t.Errorf("reverted: %+v", r)
		}
		wantNoLink(t, dir)
		if _, err := os.Stat(filepath.Join(dir, bundleDir(*runs.Bundle), "index.html")); err != nil {
			t.Errorf("the files that the app still runs: %v", err)
		}
		if _, err := c.Rollback(); !errors.Is(err, ErrNoPrevious) {
			t.Errorf("rollback to what the channel has withdrawn: %v, want ErrNoPrevious", err)
		}
		if _, _, err := c.Installed(); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("Installed = %v, want ErrNotInstalled", err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}

		c = w.device(t, node, dir)
		if r := update(t, c); !r.UpToDate || r.Version != "" || r.Requests != 1 {
			t.Errorf("on the built-in: %+v", r)
		}
		wantNoLink(t, dir)
		now := node.manifest
		node.manifest = node.history[len(node.history)-1]
		if _, err := c.Update(context.Background()); channel.CodeOf(err) != channel.CodeSequenceNotHigher {
			t.Errorf("the manifest from before the revert: %v, want it refused", err)
		}
		node.manifest = now
		wantNoLink(t, dir)

		node.publish("1.2.0", version("1.2.0"))
		if r := update(t, c); r.Version != "1.2.0" || r.Previous != "" {
			t.Errorf("the next release: %+v", r)
		}
		w.wants(t, c, version("1.2.0"))
	})
}

// TestClient_GoesBackToTheBuiltInAnyway has a device that cannot use what it has: it must not install it again.
func TestClient_GoesBackToTheBuiltInAnyway(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		path := update(t, c).Path
		if err := os.WriteFile(filepath.Join(path, "index.html"), []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
		node.revert()
		if r := update(t, c); r.Decision != channel.BuiltIn || r.Version != "" {
			t.Errorf("reverted: %+v", r)
		}
		wantNoLink(t, dir)
	})
}

func TestClient_FinishesARevertThatWasKilled(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		old := *update(t, c).Bundle
		node.revert()
		update(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		needLinks(t)
		// The kill came between the state and the link.
		relink(t, dir, bundleDir(old))
		c = w.device(t, node, dir)
		wantNoLink(t, dir)
		if r := update(t, c); !r.UpToDate {
			t.Errorf("after that: %+v", r)
		}
		node.publish("1.1.0", version("1.1.0"))
		update(t, c)
		w.wants(t, c, version("1.1.0"))
	})
}

func TestClient_GoesBackOnlyIfThatIsSigned(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir)
	update(t, c)
	node.unsigned = channel.BuiltIn
	if r, err := c.Update(context.Background()); err == nil {
		t.Errorf("an answer that nobody signed: %+v, want an error", r)
	}
	wantCurrent(t, dir, version("1.0.0"))
}
