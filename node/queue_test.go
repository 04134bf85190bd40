package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/node/semantics"
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
	return f.channels.get(app, "production").Release
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
	before := f.builder.share.made.Load()
	asks := func() {
		for _, from := range all {
			for _, to := range all {
				f.askPatch(from, to)
			}
		}
		f.settle()
	}
	asks()
	if made := f.builder.share.made.Load() - before; made != 0 {
		t.Errorf("%d patches are made between apps", made)
	}
	// Of one app, they are made to what devices can be given, and to nothing else.
	all = []channel.Release{f.publishTo("com.acme.a", "1.1.0"), f.publishTo("com.acme.a", "1.2.0"), all[0]}
	f.settle()
	before = f.builder.share.made.Load()
	asks()
	if made := f.builder.share.made.Load() - before; made != 2 {
		t.Errorf("%d patches are made, want 2: from both earlier releases to the one that is served", made)
	}
	if got := f.askPatch(all[0], all[1]); got != "dcz" {
		t.Errorf("a device of the app gets %q", got)
	}
}

func TestQueue_BoundsWhatRequestsCost(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = -1 })
	old, next := f.publishTo(testApp, "1.0.0"), f.publishTo(testApp, "1.1.0")
	f.settle()
	f.builder.mu.Lock()
	f.builder.budget = allowance{last: time.Now().Add(time.Hour)} // empty
	f.builder.mu.Unlock()
	f.askPatch(old, next)
	f.settle()
	if got := f.askPatch(old, next); got == "dcz" {
		t.Error("requests have a patch made that their budget does not cover")
	}
	<-f.builder.add(f.patchOf(old.Bundle, next.Bundle), planned)
	if got := f.askPatch(old, next); got != "dcz" {
		t.Errorf("what follows from a manifest is bounded by what requests may cost: %q", got)
	}

	now := time.Now()
	var b allowance
	if !b.take(2*askedBurst, now) || b.take(1, now) {
		t.Error("a patch of more than the burst is not taken from a full bucket, or it costs nothing")
	}
	if b.take(askedRate, now.Add(time.Second)) || !b.take(1, now.Add(2*time.Hour)) {
		t.Error("the bucket is not filled at its rate")
	}
}

func TestQueue_RemembersWhatCanNotBeMade(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = -1 })
	old, next := f.publishTo(testApp, "1.0.0"), f.publishTo(testApp, "1.1.0")
	f.settle()
	var calls atomic.Int64
	f.builder.encodeDelta = func([]byte, []byte, digest.SHA256) ([]byte, error) {
		calls.Add(1)
		return nil, errors.New("test")
	}
	for range 5 {
		f.askPatch(old, next)
		f.settle()
	}
	if calls.Load() != 1 {
		t.Errorf("a patch that can not be made was tried %d times", calls.Load())
	}
}

func TestQueue_PublishersPassRequests(t *testing.T) {
	f := start(t, func(c *Config) { c.PatchReleases = -1 })
	old, next := f.publishTo(testApp, "1.0.0"), f.publishTo(testApp, "1.1.0")
	f.settle()
	if err := f.builder.askedPatch.Acquire(context.Background(), 1); err != nil { // another patch is being made
		t.Fatal(err)
	}
	defer f.builder.askedPatch.Release(1)
	f.askPatch(old, next)
	<-f.builder.add(f.patchOf(old.Bundle, next.Bundle), urgent)
	if got := f.askPatch(old, next); got != "dcz" {
		t.Errorf("what a publisher waits for is not made: %q", got)
	}
	f.settle()
	if f.builder.queued != 0 {
		t.Errorf("%d representations wait for requests", f.builder.queued)
	}
}

func TestNode_SurvivesPanicsInTheBackground(t *testing.T) {
	var logs lockedBuffer
	f := start(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
	f.builder.encodeTo = func(io.Writer, semantics.Coding, io.Reader, int64) error { panic("test encoder") }
	old := f.publishTo(testApp, "1.0.0")
	f.settle()
	f.builder.encodeDelta = func([]byte, []byte, digest.SHA256) ([]byte, error) { panic("test patch") }
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
	if err := f.guard(func() error { panic("test body") }); err == nil {
		t.Error("what panics under guard has no error")
	}
	f.stop() // after all of them
	for _, cause := range []string{"test encoder", "test patch", "test work", "test body"} {
		if !strings.Contains(logs.String(), cause) {
			t.Errorf("the log has nothing of %q", cause)
		}
	}
}
