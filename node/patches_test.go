package node

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/represent"
	"brink/node/internal/semantics"
	"brink/protocol"
	"brink/publish"
)

// publishTo publishes a version of the site to an app of the fixture's org.
func (f *fixture) publishTo(app, version string) channel.Release {
	f.t.Helper()
	files := www(version)
	files["name"] = app
	request := publish.Request{Dir: folder(f.t, files), App: app, Version: version, Channel: "production"}
	if _, err := f.publisher().Publish(f.t.Context(), request); err != nil {
		f.t.Fatal(err)
	}
	return f.state.Manifest(app, "production").Release
}

// askPatch asks for a byte of the patch between two archives, and returns what is sent.
func (f *fixture) askPatch(from, to channel.Release) string {
	f.t.Helper()
	resp, _ := f.get(protocol.ArchivePath(to.Bundle), "Accept-Encoding", "zstd, dcz", "Range", "bytes=0-0",
		"Available-Dictionary", from.SHA256.Field())
	return resp.Header.Get("Content-Encoding")
}

func TestNode_MakesPatchesOnlyWithinAnApp(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = -1 })
	var all []channel.Release
	for _, app := range []string{"com.acme.a", "com.acme.b", "com.acme.c", "com.acme.d"} {
		all = append(all, f.publishTo(app, "1.0.0"))
	}
	f.settle()
	before, _, _ := f.builder.Shared()
	asks := func() {
		for _, from := range all {
			for _, to := range all {
				f.askPatch(from, to)
			}
		}
		f.settle()
	}
	asks()
	if made, _, _ := f.builder.Shared(); made-before != 0 {
		t.Errorf("%d patches are made between apps", made-before)
	}
	// Of one app, they are made to what devices can be given, and to nothing else.
	all = []channel.Release{f.publishTo("com.acme.a", "1.1.0"), f.publishTo("com.acme.a", "1.2.0"), all[0]}
	f.settle()
	before, _, _ = f.builder.Shared()
	asks()
	if made, _, _ := f.builder.Shared(); made-before != 2 {
		t.Errorf("%d patches are made, want 2: from both earlier releases to the one that is served", made-before)
	}
	if got := f.askPatch(all[0], all[1]); got != "dcz" {
		t.Errorf("a device of the app gets %q", got)
	}
}

func TestNode_SurvivesPanicsInTheBackground(t *testing.T) {
	var logs lockedBuffer
	f := start(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&logs, nil))
		c.encoders = represent.Encoders{
			To:    func(io.Writer, semantics.Coding, io.Reader, int64) error { panic("test encoder") },
			Patch: func([]byte, []byte, digest.SHA256) ([]byte, error) { panic("test patch") },
		}
	})
	old := f.publishTo(testApp, "1.0.0")
	f.settle()
	next := f.publishTo(testApp, "1.1.0")
	f.settle()
	if got := f.askPatch(old, next); got != "" {
		t.Errorf("the archive is sent as %q", got)
	}
	if resp, body := f.get(protocol.ArchivePath(next.Bundle)); resp.StatusCode != 200 || int64(len(body)) != next.Size {
		t.Errorf("the archive is %s with %d bytes", resp.Status, len(body))
	}
	ended := make(chan struct{})
	f.work.Go(func() { defer close(ended); panic("test work") })
	<-ended
	if err := f.work.Guard(func() error { panic("test body") }); err == nil {
		t.Error("what panics under guard has no error")
	}
	f.stop() // after all of them
	for _, cause := range []string{"test encoder", "test patch", "test work", "test body"} {
		if !strings.Contains(logs.String(), cause) {
			t.Errorf("the log has nothing of %q", cause)
		}
	}
}
