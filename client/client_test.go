package client

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// tree returns the files below dir by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func version(n string) map[string]string {
	return map[string]string{
		"index.html":    "<!doctype html><title>" + n + "</title>",
		"js/app.js":     strings.Repeat("const answer = 42; // "+"the same in every version\n", 4000) + "export const version = '" + n + "';\n",
		"img/логотип":   string(noise(7, 50_000)),
		"empty":         "",
		"new-in-" + n:   n,
		"deep/er/x.css": "a{}",
	}
}

// device returns a client of node in dir, closed with the test.
func device(t *testing.T, node *fakeNode, dir string, change ...func(*Config)) *Client {
	t.Helper()
	config := Config{Dir: dir, Nodes: []string{node.URL}, App: testApp, Channel: testChannel, Trust: node.trust, Confirm: true, HTTP: node.Client()}
	for _, c := range change {
		c(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func update(t *testing.T, c *Client) Result {
	t.Helper()
	result, err := c.Update(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// wantCurrent checks what the app would see.
func wantCurrent(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeState(raw)
	if err != nil || s.Current == nil {
		t.Fatalf("the state names no bundle: %v", err)
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dir, bundleDir(s.Current.Bundle)))); diff != "" {
		t.Fatalf("current is not what it should be:\n%.2000s", diff)
	}
}

func TestClient_InstallsUpdatesAndIsUpToDate(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		if r := update(t, c); r.Version != "1.0.0" || r.Patched || r.Encoding != "zstd" || r.UpToDate || r.Requests != 2 {
			t.Errorf("first install: %+v", r)
		}
		w.wants(t, c, version("1.0.0"))
		full := node.sent.Load()

		node.publish("1.1.0", version("1.1.0"))
		before := node.sent.Load()
		r := update(t, c)
		if r.Version != "1.1.0" || !r.Patched || r.Encoding != "dcz" || r.Previous != "1.0.0" || r.Requests != 2 {
			t.Errorf("update: %+v", r)
		}
		w.wants(t, c, version("1.1.0"))
		if patch := node.sent.Load() - before; patch > full/10 {
			t.Errorf("the update took %d bytes, the install %d", patch, full)
		}

		if r := update(t, c); !r.UpToDate || r.Requests != 1 || r.Version != "1.1.0" || r.BytesReceived > 100 {
			t.Errorf("nothing new: %+v, want an answer without the manifest", r)
		}
	})
}

func TestClient_FollowsASignedRollback(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		node.publish("1.1.0", version("1.1.0"))
		c := w.device(t, node, dir)
		update(t, c)
		node.rollBack("1.0.0")
		if r := update(t, c); r.Version != "1.0.0" || r.Decision != channel.Rollback {
			t.Errorf("signed rollback: %+v", r)
		}
		w.wants(t, c, version("1.0.0"))
	})
}

func TestClient_RefusesWhatIsNotSigned(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(node *fakeNode)
		code  channel.Code
	}{
		"older manifest":  {func(n *fakeNode) { n.manifest = n.history[0] }, channel.CodeSequenceNotHigher},
		"stranger's key":  {func(n *fakeNode) { n.manifest = n.forge(newKey(n.t)) }, channel.CodeUnknownKey},
		"one bit flipped": {func(n *fakeNode) { n.manifest = bytes.Replace(n.manifest, []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1) }, ""},
		"other channel":   {func(n *fakeNode) { n.manifest = n.sign(n.other("beta")) }, channel.CodeWrongChannel},
		"equivocation":    {func(n *fakeNode) { n.manifest = n.twin() }, channel.CodeEquivocation},
	} {
		t.Run(name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.publish("1.0.0", version("1.0.0"))
			node.publish("1.1.0", version("1.1.0"))
			c := device(t, node, dir)
			update(t, c)
			test.spoil(node)
			_, err := c.Update(context.Background())
			if err == nil || (test.code != "" && channel.CodeOf(err) != test.code) {
				t.Errorf("Update = %v, want code %q", err, test.code)
			}
			wantCurrent(t, dir, version("1.1.0"))
		})
	}
}

func TestClient_FallsBackToFullWhenAPatchFails(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":         func(p []byte) []byte { return p[:len(p)-7] },
		"garbled":     func(p []byte) []byte { p[60] ^= 0xff; return p },
		"empty":       func([]byte) []byte { return nil },
		"other bytes": func(p []byte) []byte { return append(p[:40:40], "not zstd"...) },
	} {
		t.Run(name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.publish("1.0.0", version("1.0.0"))
			c := device(t, node, dir)
			update(t, c)
			node.publish("1.1.0", version("1.1.0"))
			node.spoilPatch = spoil
			if r := update(t, c); r.Patched || r.Encoding != "zstd" || r.Requests != 3 {
				t.Errorf("update: %+v", r)
			}
			wantCurrent(t, dir, version("1.1.0"))
		})
	}
}

func TestClient_TakesThePatchThatComesWithTheCheck(t *testing.T) {
	for name, test := range map[string]struct {
		inline   func([]byte) []byte
		requests int
	}{
		"whole":   {func(p []byte) []byte { return p }, 1},
		"garbled": {func(p []byte) []byte { p[60] ^= 0xff; return p }, 2},
		"cut":     {func(p []byte) []byte { return p[:50] }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			node, dir := newFakeNode(t), t.TempDir()
			node.inline = test.inline
			node.publish("1.0.0", version("1.0.0"))
			c := device(t, node, dir)
			update(t, c)
			node.publish("1.1.0", version("1.1.0"))
			if r := update(t, c); !r.Patched || r.Requests != test.requests {
				t.Errorf("update: %+v, want a patch in %d requests", r, test.requests)
			}
			wantCurrent(t, dir, version("1.1.0"))
			if _, err := c.Rollback(); err != nil {
				t.Fatal(err)
			}
			node.inline = func(p []byte) []byte {
				t.Error("a device that rolled back asks for the patch to what it left")
				return p
			}
			update(t, c)
		})
	}
}

func TestClient_NeverInstallsWrongBytes(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		update(t, c)
		node.publish("1.1.0", version("1.1.0"))
		wrong := node.archiveOf(version("6.6.6"))
		node.spoilPatch = func([]byte) []byte { return nil }
		node.spoilArchive = func([]byte) []byte { return wrong }
		if _, err := c.Update(context.Background()); !errors.Is(err, ErrDamaged) {
			t.Errorf("Update = %v, want ErrDamaged", err)
		}
		w.wants(t, c, version("1.0.0"))
		node.spoilArchive = nil
		if r := update(t, c); r.Version != "1.1.0" {
			t.Errorf("a node that is well again: %+v", r)
		}
	})
}

func TestClient_ResumesACutDownload(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	node.cutAfter = 5_000 // less than a third of the archive, whatever is tried
	c := device(t, node, dir)
	if _, err := c.Update(context.Background()); err == nil {
		t.Fatal("every download was cut, and yet it ended")
	}
	node.cutAfter = 0
	before := node.sent.Load()
	r := update(t, c)
	if !r.Resumed || r.Version != "1.0.0" {
		t.Errorf("after a cut: %+v", r)
	}
	if rest, whole := node.sent.Load()-before, int64(len(node.encoded["1.0.0"])); rest > whole-15_000 {
		t.Errorf("%d bytes of %d were sent again", rest, whole)
	}
	wantCurrent(t, dir, version("1.0.0"))
}

func TestClient_StartsOverWhenTheKeptPartIsWrong(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	node.cutAfter = 5_000 // less than a third of the archive, whatever is tried
	c := device(t, node, dir)
	if _, err := c.Update(context.Background()); err == nil {
		t.Fatal("every download was cut, and yet it ended")
	}
	node.cutAfter = 0
	if err := os.WriteFile(filepath.Join(dir, partialBody), noise(5, 15_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := update(t, c); r.Version != "1.0.0" {
		t.Errorf("with a damaged part: %+v", r)
	}
	wantCurrent(t, dir, version("1.0.0"))
}

// TestClient_MendsWhateverTheChannelAllows has a device that its channel would leave alone.
func TestClient_MendsWhateverTheChannelAllows(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("1.0.0", version("1.0.0"))
		c := w.device(t, node, dir)
		path := update(t, c).Path
		node.publish("1.1.0", version("1.1.0"))
		frozen, err := node.current.SetRules(channel.Rules{MaxStep: channel.StepNone}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		node.put(frozen)
		if r := update(t, c); r.Version != "1.0.0" || r.Reason != string(channel.ReasonStep) {
			t.Fatalf("a frozen channel: %+v", r)
		}
		if err := os.WriteFile(filepath.Join(path, "index.html"), []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
		update(t, c)
		w.wants(t, c, version("1.0.0"))
	})
}

func TestClient_FollowsARollout(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	named, outside := device(t, node, dir, func(c *Config) { c.Device.Custom = "till-7" }), device(t, node, t.TempDir())
	roll := func(share int) {
		t.Helper()
		next, err := node.current.SetRollout(channel.Rollout{Share: share}, time.Now())
		if err == nil {
			next, err = next.SetOverride(channel.Override{Custom: next.HashCustom("till-7")}, time.Now())
		}
		if err != nil && !errors.Is(err, channel.ErrUnchanged) {
			t.Fatal(err)
		}
		if next != nil {
			node.put(next)
		}
	}
	update(t, named)
	update(t, outside)
	node.publish("1.1.0", version("1.1.0"))
	roll(0)
	if r := update(t, outside); r.Version != "1.0.0" || !r.UpToDate {
		t.Errorf("outside: %+v", r)
	}
	if r := update(t, named); r.Version != "1.1.0" {
		t.Errorf("named: %+v", r)
	}
}

func TestClient_AsksTheNextNode(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir, func(c *Config) { c.Nodes = []string{"http://127.0.0.1:1", node.URL + "/"} })
	if r := update(t, c); r.Version != "1.0.0" {
		t.Errorf("with one node down: %+v", r)
	}
}

func TestClient_GivesTheNodesWords(t *testing.T) {
	node := newFakeNode(t)
	c := device(t, node, t.TempDir())
	_, err := c.Update(context.Background())
	problem, ok := errors.AsType[*protocol.Problem](err)
	if !ok || problem.Code != protocol.CodeUnknownChannel || problem.Status != http.StatusNotFound {
		t.Errorf("Update = %v, want the node's problem", err)
	}
}

func TestClient_ChangesChannelDownwards(t *testing.T) {
	inEveryPlace(t, func(t *testing.T, w way) {
		node, dir := newFakeNode(t), t.TempDir()
		node.publish("2.0.0", version("2.0.0"))
		c := w.device(t, node, dir)
		update(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		node.switchTo("beta", "1.0.0", version("1.0.0"))
		moved := w.device(t, node, dir, func(c *Config) { c.Channel = "beta" })
		if r := update(t, moved); r.Version != "1.0.0" || r.Channel != "beta" {
			t.Errorf("after a change of channel: %+v", r)
		}
		w.wants(t, moved, version("1.0.0"))
	})
}

func TestConfig_DefaultsLeaveTheCallersNodes(t *testing.T) {
	nodes := []string{"http://one.example/"}
	if got := (Config{Nodes: nodes}).withDefaults().Nodes[0]; got != "http://one.example" {
		t.Errorf("the node is %q", got)
	}
	if nodes[0] != "http://one.example/" {
		t.Errorf("the caller's node became %q", nodes[0])
	}
}

func TestConfig_ValidateNamesEverything(t *testing.T) {
	err := Config{Nodes: []string{"ftp://x", "not a url"}}.Validate()
	for _, want := range []string{"folder", "ftp://x", "not a url", "app and channel"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want it to name %q", err, want)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"schema":2,"app":"a","channels":[{"seen":{"app":"a","channel":"b"}}],"current":{"version":"1.0.0"}}`))
	none := digest.Digest{}.String()
	for _, element := range []string{"{}", "null", `{"seen":{"statement":"` + none + `"},"trust":"` + none + `"}`} {
		f.Add([]byte(`{"schema":2,"channels":[` + strings.Repeat(element+",", 5000) + element + `]}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s state
		var err error
		cost.Check(t, len(raw), func() { s, err = decodeState(raw) })
		if err == nil && s.Schema != stateSchema {
			t.Error("a state of another schema was accepted")
		}
	})
}

// mapFS returns files as a file system.
func mapFS(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return fsys
}
