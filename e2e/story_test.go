package e2e_test

import (
	"os"
	"path/filepath"
	"testing"

	"brink/bench/corpus"
)

// patient are flags for nodes whose devices are to get patches, however busy the machine is: the channel moves when
// they are made.
var patient = []string{"--prepare-wait", "5m"}

// release is one version of an app as its makers left it.
type release struct {
	version, folder string
	small           bool // a patch release: little has changed
}

func TestUpdate_OfARealAppIsWhatWasPublished(t *testing.T) {
	t.Parallel()
	const name = "swagger-ui-dist"
	tell(t, []release{
		{version: "5.34.0", folder: corpus.Need(t, name, "5.34.0")},
		{version: "5.34.1", folder: corpus.Need(t, name, "5.34.1"), small: true},
		{version: "5.35.0", folder: corpus.Need(t, name, "5.35.0")},
	})
}

func TestUpdate_OfAMadeUpAppIsWhatWasPublished(t *testing.T) {
	t.Parallel()
	rnd, dir := chance(t), t.TempDir()
	first := webApp(rnd, 2<<20)
	second := first.with("js/main.js", first["js/main.js"]+"\nexport const fixed = true;\n")
	third := second.with("css/main.css", prose(rnd, 256<<10)).with("img/new.webp", noise(rnd, 100<<10))
	tell(t, []release{
		{version: "1.0.0", folder: first.write(t, filepath.Join(dir, "1"))},
		{version: "1.0.1", folder: second.write(t, filepath.Join(dir, "2")), small: true},
		{version: "1.1.0", folder: third.write(t, filepath.Join(dir, "3"))},
	})
}

// tell publishes one release after the other, each twice, and has devices install and update.
func tell(t *testing.T, releases []release) {
	p := begin(t)
	n := p.serve(t, "data", patient...)
	var install fetched
	for i, r := range releases {
		want := readTree(t, r.folder)
		first := p.publish(t, n.url, r.folder, r.version)
		if first.Version != r.version || first.Sequence != uint64(i+1) || first.Files != len(want) || first.ChunksSent == 0 || first.Unchanged {
			t.Errorf("publish %s: %+v", r.version, first)
		}
		if again := p.publish(t, n.url, r.folder, r.version); again.ChunksSent != 0 || !again.Unchanged || again.Sequence != first.Sequence {
			t.Errorf("publish %s once more: %+v", r.version, again)
		}
		got := p.fetch(t, n.url, "device")
		wantTree(t, p.file("device"), want)
		t.Logf("%s: archive %d bytes, sent %d chunks with %d bytes in %.0f ms; fetched %d bytes in %d requests in %.0f ms, patched: %t",
			r.version, first.Bytes, first.ChunksSent, first.BytesSent, first.DurationMS,
			got.BytesReceived, got.Requests, got.DurationMS, got.Patched)
		if got.Version != r.version || got.Bundle != first.Bundle || got.Patched != (i > 0) || got.UpToDate {
			t.Errorf("fetch %s: %+v", r.version, got)
		}
		if i == 0 {
			install = got
			if got.Parts < 2 || got.Requests != 1+got.Parts {
				t.Errorf("the install came in %d parts by %d requests, want a check and several parts at once", got.Parts, got.Requests)
			}
		}
		if r.small && got.BytesReceived*10 >= install.BytesReceived {
			t.Errorf("the update to %s took %d bytes, the install %d", r.version, got.BytesReceived, install.BytesReceived)
		}
		if r.small && first.ChunksSent*10 >= first.Chunks*5 {
			t.Errorf("publish %s sent %d of %d chunks", r.version, first.ChunksSent, first.Chunks)
		}
		if none := p.fetch(t, n.url, "device"); !none.UpToDate || none.Version != r.version {
			t.Errorf("fetch %s once more: %+v", r.version, none)
		}
	}
	last := releases[len(releases)-1]

	// A device that was away, and one that is new, come to the same.
	n.stop(t)
	n = p.serve(t, "data")
	if got := p.fetch(t, n.url, "other"); got.Version != last.version || got.Patched {
		t.Errorf("a new device: %+v", got)
	}
	wantTree(t, p.file("other"), readTree(t, last.folder))
	if none := p.fetch(t, n.url, "device"); !none.UpToDate {
		t.Errorf("after a restart: %+v", none)
	}

	// What an app did to its own files is made good.
	spoil(t, filepath.Join(p.file("device"), "current"))
	p.fetch(t, n.url, "device")
	wantTree(t, p.file("device"), readTree(t, last.folder))
}

// spoil changes one file of an installed release.
func spoil(t *testing.T, current string) {
	t.Helper()
	for name, content := range readTree(t, current) {
		if len(content) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(current, name), []byte(content[1:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func TestChannel_PromoteRollbackAndADeviceThatGoesBackByItself(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", patient...)
	first := webApp(rnd, 128<<10)
	second := first.with("js/main.js", "export const version = 2;")
	first.write(t, p.file("first"))
	second.write(t, p.file("second"))
	move := func(args ...string) published {
		t.Helper()
		args = append([]string{"channel"}, args...)
		return decode[published](t, p.must(t, append(args, "--json", "--node", n.url, "--key", p.key, "--trust", p.trust, "--app", app)...).stdout)
	}

	// Beta to production: no byte is sent again.
	p.publish(t, n.url, "first", "1.0.0")
	p.must(t, p.publishArgs(n.url, "second", "1.1.0", beta)...)
	if got := p.fetch(t, n.url, "device"); got.Version != "1.0.0" {
		t.Errorf("production before the promotion: %+v", got)
	}
	if got := move("promote", "--from", beta, "--to", production); got.Version != "1.1.0" || got.ChunksSent != 0 || got.Sequence != 2 {
		t.Errorf("promote: %+v", got)
	}
	if got := p.fetch(t, n.url, "device"); got.Version != "1.1.0" || got.Previous != "1.0.0" || !got.Patched {
		t.Errorf("production after the promotion: %+v", got)
	}
	wantTree(t, p.file("device"), second)

	// The device goes back by itself, without a node, and stays there.
	if got := decode[fetched](t, p.must(t, append(p.fetchArgs("http://127.0.0.1:1", "device"), "--rollback")...).stdout); got.Version != "1.0.0" {
		t.Errorf("fetch --rollback: %+v", got)
	}
	wantTree(t, p.file("device"), first)
	if got := p.fetch(t, n.url, "device"); got.Version != "1.0.0" || got.UpToDate || got.Reason != "rolled_back_here" {
		t.Errorf("after fetch --rollback: %+v", got)
	}
	if o := p.run(t, append(p.fetchArgs(n.url, "device"), "--rollback")...); o.code != 5 {
		t.Errorf("a second rollback ended with %d: %s", o.code, o.stderr)
	}

	// The channel goes back: devices that are ahead follow, because it is signed.
	p.fetch(t, n.url, "ahead")
	if got := move("rollback", "--channel", production); got.Version != "1.0.0" || got.Sequence != 3 {
		t.Errorf("channel rollback: %+v", got)
	}
	if got := p.fetch(t, n.url, "ahead"); got.Version != "1.0.0" || got.Decision != "rollback" {
		t.Errorf("a device that was ahead: %+v", got)
	}
	wantTree(t, p.file("ahead"), first)
	if got := p.fetch(t, n.url, "device"); got.Version != "1.0.0" || !got.UpToDate {
		t.Errorf("a device that was there already: %+v", got)
	}

	// The next release comes to all of them, also after the node has restarted.
	n.stop(t)
	n = p.serve(t, "data")
	third := second.with("js/main.js", "export const version = 3;")
	p.publish(t, n.url, third.write(t, p.file("third")), "1.2.0")
	for _, device := range []string{"device", "ahead"} {
		if got := p.fetch(t, n.url, device); got.Version != "1.2.0" {
			t.Errorf("%s: %+v", device, got)
		}
		wantTree(t, p.file(device), third)
	}

	// An older manifest that was signed is not taken again. Whoever has it cannot bring devices back.
	if o := p.run(t, p.publishArgs(n.url, "second", "1.1.5", production)...); o.code != 3 || failureOf(t, o).Code != "downgrade" {
		t.Errorf("a lower version ended with %d: %s", o.code, o.stderr)
	}
}
