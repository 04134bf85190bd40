package e2e_test

import (
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// moment is when a process is killed: so many bytes into a transfer, and a little later, so that what comes after the
// last byte is struck too.
type moment struct {
	bytes int64
	later time.Duration
}

// quick are flags for nodes of which it does not matter how small updates are.
var quick = []string{"--patch-releases", "1", "--prepare-wait", "0s"}

// aMoment draws one in or after a transfer of about total bytes, after which there is work for about so long.
func aMoment(rnd *mrand.Rand, total int64, work time.Duration) moment {
	m := moment{bytes: rnd.Int64N(total)}
	if rnd.IntN(2) == 0 {
		m.later = time.Duration(rnd.Int64N(int64(work)))
	}
	if rnd.IntN(4) == 0 {
		m.bytes = total - total/50 // close to the end, where most is at stake
	}
	return m
}

// kill returns what a relay does when the moment has come. The process need not have been started before that.
func (m moment) kill(process *atomic.Pointer[os.Process]) func() {
	return func() {
		time.AfterFunc(m.later, func() { _ = process.Load().Kill() }) // it may have ended
	}
}

// of returns the process of a node, to be killed.
func of(n *node) *atomic.Pointer[os.Process] {
	var p atomic.Pointer[os.Process]
	p.Store(n.cmd.Process)
	return &p
}

// edition returns the files of the nth version of an app: most of it is new in each.
func edition(rnd *mrand.Rand, n int) (version string, files tree) {
	files = webApp(rnd, 1<<20).with("version", fmt.Sprint(n)).with("js/vendor.js", "// the same in all of them")
	return fmt.Sprintf("1.%d.0", n), files
}

// state is what a channel serves: what was acknowledged last, and what may be there as well.
type state struct {
	version string
	files   tree
}

// wantOneOf fetches to a device and checks that it has one of the versions, whole.
func (p *program) wantOneOf(t *testing.T, url string, allowed ...state) {
	t.Helper()
	got := p.fetch(t, url, "device")
	for _, s := range allowed {
		if got.Version == s.version {
			wantTree(t, p.file("device"), s.files)
			return
		}
	}
	t.Fatalf("the channel serves %q", got.Version)
}

func TestPublish_SurvivesKillOfTheNode(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", quick...)
	var old state
	old.version, old.files = edition(rnd, 0)
	old.files.write(t, p.file("0"))
	total := p.publish(t, n.url, "0", old.version).BytesSent

	var acknowledged, lost, resumed int
	for i := 1; i <= rounds(3, 30); i++ {
		var next state
		next.version, next.files = edition(rnd, i)
		folder := fmt.Sprint(i)
		next.files.write(t, p.file(folder))
		args := p.publishArgs(n.url, folder, next.version, production)
		lacking := decode[published](t, p.must(t, append(args, "--dry-run")...).stdout).ChunksSent
		when := aMoment(rnd, total, 300*time.Millisecond)
		through := upload(t, n, when.bytes, when.kill(of(n)))
		o := p.run(t, p.publishArgs(through.url, folder, next.version, production)...)
		n.kill()

		n = p.serve(t, "data", quick...)
		if o.code == 0 {
			acknowledged++
			p.wantOneOf(t, n.url, next)
		} else {
			lost++
			if o.code != 6 {
				t.Errorf("publish to a node that was killed ended with %d: %s", o.code, o.stderr)
			}
			p.wantOneOf(t, n.url, old, next)
		}
		again := p.publish(t, n.url, folder, next.version)
		if o.code == 0 && again.ChunksSent > 0 {
			t.Errorf("round %d: %d chunks of what was acknowledged were gone", i, again.ChunksSent)
		}
		if o.code != 0 && again.ChunksSent < lacking {
			resumed++
		}
		p.wantOneOf(t, n.url, next)
		old = next
		if err := os.RemoveAll(p.file(folder)); err != nil {
			t.Fatal(err)
		}
	}
	wantSound(t, p, n)
	t.Logf("acknowledged before the kill: %d; cut: %d, of which %d sent only the rest when repeated", acknowledged, lost, resumed)
	if isLong() && (lost == 0 || resumed == 0) {
		t.Errorf("of %d that were cut %d sent only the rest", lost, resumed)
	}
}

// wantSound stops a node and checks its whole store.
func wantSound(t *testing.T, p *program, n *node) {
	t.Helper()
	n.stop(t)
	if o := p.run(t, "store", "verify", "--data", "data"); o.code != 0 {
		t.Errorf("store verify ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

func TestPublish_SurvivesKillOfThePublisher(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", quick...)
	var old state
	old.version, old.files = edition(rnd, 0)
	old.files.write(t, p.file("0"))
	total := p.publish(t, n.url, "0", old.version).BytesSent

	killed := 0
	for i := 1; i <= rounds(3, 30); i++ {
		var next state
		next.version, next.files = edition(rnd, i)
		folder := fmt.Sprint(i)
		next.files.write(t, p.file(folder))
		when := aMoment(rnd, total, 300*time.Millisecond)
		var publisher atomic.Pointer[os.Process]
		through := upload(t, n, when.bytes, when.kill(&publisher))
		cmd := p.command(p.publishArgs(through.url, folder, next.version, production)...)
		switch o := finish(t, cmd, publisher.Store); o.code {
		case 0:
			p.wantOneOf(t, n.url, next)
		case -1:
			killed++
			p.wantOneOf(t, n.url, old, next)
		default:
			t.Errorf("publish ended with %d: %s", o.code, o.stderr)
		}
		p.publish(t, n.url, folder, next.version)
		p.wantOneOf(t, n.url, next)
		old = next
		if err := os.RemoveAll(p.file(folder)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d publishers were killed", killed)
	wantSound(t, p, n)
}

// TestPublish_RepeatedWhileTheFirstComesIntoForce kills a publisher when the node has made its channel manifest durable
// and still makes the representations, for which the channel waits. Who repeats the call then meets nobody else.
func TestPublish_RepeatedWhileTheFirstComesIntoForce(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", patient...)
	p.publish(t, n.url, tree{"index.html": "hello"}.write(t, p.file("first")), "1.0.0")
	tree{"large.js": prose(rnd, 48<<20)}.write(t, p.file("second")) // to encode it takes seconds

	durable := n.watch("channel moved")
	cmd := p.command(p.publishArgs(n.url, "second", "1.1.0", production)...)
	finish(t, cmd, func(publisher *os.Process) {
		<-durable
		_ = publisher.Kill() // it may have ended
	})
	if again := p.publish(t, n.url, "second", "1.1.0"); again.ChunksSent != 0 || again.Sequence != 2 {
		t.Errorf("once more: %+v", again)
	}
	if got := p.fetch(t, n.url, "device"); got.Version != "1.1.0" {
		t.Errorf("the channel serves %q", got.Version)
	}
}

// onDevice returns what a device runs, which must be one of the versions, whole.
func onDevice(t *testing.T, device string, allowed ...state) state {
	t.Helper()
	return inFolder(t, filepath.Join(device, "current"), allowed...)
}

func inFolder(t *testing.T, folder string, allowed ...state) state {
	t.Helper()
	files := readTree(t, folder)
	for _, s := range allowed {
		if files.equal(s.files) {
			return s
		}
	}
	t.Fatalf("the device runs something that was never published (-want +got):\n%.3000s", allowed[0].files.difference(files))
	return state{}
}

// TestFetch_SurvivesKills kills in turn the node in the middle of a fetch, and the fetch itself.
func TestFetch_SurvivesKills(t *testing.T) {
	t.Parallel()
	fetchSurvivesKills(t, begin(t), onDevice)
}

// fetchSurvivesKills asks runs what the device runs.
func fetchSurvivesKills(t *testing.T, p *program, runs func(*testing.T, string, ...state) state) {
	t.Helper()
	rnd := chance(t)
	n := p.serve(t, "data", quick...)
	var old state
	old.version, old.files = edition(rnd, 0)
	old.files.write(t, p.file("0"))
	p.publish(t, n.url, "0", old.version)
	install := p.fetch(t, n.url, "device")

	var killed, before, resumed int
	for i := 1; i <= rounds(4, 60); i++ {
		var next state
		next.version, next.files = edition(rnd, i)
		folder := fmt.Sprint(i)
		next.files.write(t, p.file(folder))
		p.publish(t, n.url, folder, next.version)

		when, node := aMoment(rnd, install.BytesReceived, 60*time.Millisecond), i%2 == 0
		victim := of(n)
		through := download(t, n, when.bytes, when.kill(victim))
		cmd := p.command(p.fetchArgs(through.url, "device")...)
		o := finish(t, cmd, func(fetch *os.Process) {
			if !node {
				victim.Store(fetch)
			}
		})
		switch now := runs(t, p.file("device"), old, next); {
		case o.code == 0 && now.version != next.version:
			t.Errorf("round %d: fetch ended well and the device runs %s", i, now.version)
		case o.code != 0:
			killed++
			if now.version == old.version {
				before++
			}
		}
		if node {
			n.kill()
			n = p.serve(t, "data", quick...)
		}
		if got := p.fetch(t, n.url, "device"); got.Resumed {
			resumed++
		}
		runs(t, p.file("device"), next)
		if kept, err := os.ReadDir(filepath.Join(p.file("device"), "bundles")); err != nil || len(kept) > 2 {
			t.Errorf("round %d: %d bundles are kept, %v", i, len(kept), err)
		}
		old = next
		if err := os.RemoveAll(p.file(folder)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d fetches were cut, %d of them before the switch; %d went on where they were", killed, before, resumed)
	if isLong() && killed == 0 {
		t.Error("no fetch was cut")
	}
}

// TestFetch_OfTheFirstReleaseSurvivesKills is about a device that has nothing yet: it stays empty or is whole.
func TestFetch_OfTheFirstReleaseSurvivesKills(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data", quick...)
	var only state
	only.version, only.files = edition(rnd, 0)
	only.files.write(t, p.file("0"))
	p.publish(t, n.url, "0", only.version)
	install := p.fetch(t, n.url, "whole")

	resumed := 0
	for i := range rounds(3, 40) {
		device := fmt.Sprint("device", i)
		when := aMoment(rnd, install.BytesReceived, 60*time.Millisecond)
		var fetch atomic.Pointer[os.Process]
		through := download(t, n, when.bytes, when.kill(&fetch))
		o := finish(t, p.command(p.fetchArgs(through.url, device)...), fetch.Store)
		if files, err := tryReadTree(filepath.Join(p.file(device), "current")); err == nil && !files.equal(only.files) {
			t.Fatalf("round %d: the device runs a part (-want +got):\n%.3000s", i, only.files.difference(files))
		} else if err != nil && o.code == 0 {
			t.Fatalf("round %d: fetch ended well and the device runs nothing: %v", i, err)
		}
		got := p.fetch(t, n.url, device)
		if got.Resumed {
			resumed++
			if got.BytesReceived >= install.BytesReceived {
				t.Errorf("round %d: going on took %d bytes, the whole %d", i, got.BytesReceived, install.BytesReceived)
			}
		}
		onDevice(t, p.file(device), only)
		if err := os.RemoveAll(p.file(device)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d fetches went on where they were cut", resumed)
	if isLong() && resumed == 0 {
		t.Error("no fetch went on where it was cut")
	}
}
