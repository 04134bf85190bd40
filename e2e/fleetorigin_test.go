package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestFleet_IsRebuiltFromTheOrigin loses all nodes. What is at the origin is all that is left, and it is enough.
func TestFleet_IsRebuiltFromTheOrigin(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	b := openBucket(t, p)
	first := p.serve(t, "first", withOrigin(b.url("here"), "--origin-ack")...)
	old, files := webApp(rnd, 1<<21), webApp(rnd, 1<<20)
	former := p.publish(t, first.url, old.write(t, p.file("old")), "1.0.0")
	p.publish(t, first.url, files.write(t, p.file("new")), "1.1.0")
	want := manifestOf(first)
	first.kill()
	if err := os.RemoveAll(p.file("first")); err != nil {
		t.Fatal(err)
	}

	b.count()
	began := time.Now()
	n := p.serve(t, "second", withOrigin(b.url("here"))...)
	until(t, "the empty node has what the origin has", func() bool { return manifestOf(n) == want })
	t.Logf("an empty node has the channel from the origin after %v", since(began))
	if got := p.fetch(t, n.url, "device"); got.Version != "1.1.0" {
		t.Errorf("it serves %q", got.Version)
	}
	wantTree(t, p.file("device"), files)

	// The release before is in the history, and was not asked for yet. Many want it at once.
	for call := range b.count() {
		if strings.Contains(call, former.Bundle) {
			t.Fatalf("before anybody has asked there was %s", call)
		}
	}
	const crowd = 1000
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: crowd}}
	defer client.CloseIdleConnections()
	statuses := map[int]int{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	began = time.Now()
	for range crowd {
		asking.Go(func() {
			status, err := tryArchive(client, n, former.Bundle)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	asking.Wait()
	t.Logf("%d requests for one missing bundle took %v: %v", crowd, since(began), statuses)
	if statuses[http.StatusOK] != crowd {
		t.Errorf("of %d requests %d were answered", crowd, statuses[http.StatusOK])
	}
	indexes, packs := 0, 0
	for call, times := range b.count() {
		switch {
		case strings.Contains(call, former.Bundle+"/index.json"):
			indexes += times
		case strings.Contains(call, "/packs/"):
			if packs += times; times > 1 {
				t.Errorf("%d times %s", times, call)
			}
		}
	}
	if indexes != 1 || packs == 0 {
		t.Errorf("the index was read %d times, and packs %d times", indexes, packs)
	}
}

// TestFleet_FindsWhatWasPublishedToTheOrigin publishes to the bucket itself, before a node runs and while one does.
func TestFleet_FindsWhatWasPublishedToTheOrigin(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	b := openBucket(t, p)
	files := webApp(rnd, 1<<19)
	publish := func(version string) {
		t.Helper()
		files = files.with("version", version)
		p.must(t, "publish", files.write(t, p.file(version)), "--origin", b.url("here"), "--trust", p.trust, "--key", p.key,
			"--app", app, "--version", version, "--channel", production)
	}
	publish("1.0.0")
	n := p.serve(t, "data", withOrigin(b.url("here"))...)
	for _, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		if version != "1.0.0" {
			publish(version)
		}
		began := time.Now()
		until(t, "the node has found "+version, func() bool {
			o := p.run(t, p.fetchArgs(n.url, "device")...)
			return o.code == 0 && decode[fetched](t, o.stdout).Version == version
		})
		t.Logf("%s was found %v after it was published", version, since(began))
	}
	wantTree(t, p.file("device"), files)
	// Where the bucket is, a node goes on.
	files = files.with("version", "1.3.0")
	made := p.publish(t, n.url, files.write(t, p.file("1.3.0")), "1.3.0")
	if made.Sequence != 4 {
		t.Errorf("a node that follows the bucket goes on with sequence %d", made.Sequence)
	}
	if here := b.read("here", "channels/"+app+"/"+production+"/current.json"); here != manifestOf(n) {
		t.Error("what the node acknowledged is not at the origin")
	}
}

// TestFleet_OutlivesTroubleWithTheOrigin has two nodes, each with a place of its own in the bucket: one acknowledges only
// what the origin has, the other whatever it has itself.
func TestFleet_OutlivesTroubleWithTheOrigin(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	b := openBucket(t, p)
	strict := p.serve(t, "strict", withOrigin(b.url("strict"), "--origin-ack")...)
	lax := p.serve(t, "lax", withOrigin(b.url("lax"))...)
	current := "channels/" + app + "/" + production + "/current.json"
	files := webApp(rnd, 1<<19)
	made := p.publish(t, strict.url, files.write(t, p.file("first")), "1.0.0")
	p.publish(t, lax.url, "first", "1.0.0")

	troubles := []struct {
		name, tells string
		begin, end  func()
	}{
		{"down", "", b.stop, func() { b.start(t) }},
		{"full", "QuotaExceeded", func() { b.harms(says(http.StatusForbidden, "QuotaExceeded")) }, func() { b.harms(nil) }},
		{"denied", "AccessDenied", func() { b.harms(says(http.StatusForbidden, "AccessDenied")) }, func() { b.harms(nil) }},
		{"broken", "", func() { b.harms(says(http.StatusInternalServerError, "InternalError")) }, func() { b.harms(nil) }},
	}
	for i, trouble := range troubles {
		version := fmt.Sprintf("1.%d.0", i+1)
		former, before := files, manifestOf(strict)
		files = files.with("js/main.js", prose(rnd, 1<<16))
		files.write(t, p.file(version))
		trouble.begin()

		began := time.Now()
		refused := p.run(t, p.publishArgs(strict.url, version, version, production)...)
		t.Logf("%s: the strict node said no after %v: %s", trouble.name, since(began), strings.TrimSpace(refused.stderr))
		failure := failureOf(t, refused)
		if !strings.Contains(failure.Message, "origin") || !strings.Contains(failure.Message, trouble.tells) ||
			!strings.Contains(failure.Hint, "has not moved") {
			t.Errorf("%s: what it says does not tell what is wrong: %+v", trouble.name, failure)
		}
		if manifestOf(strict) != before {
			t.Errorf("%s: the channel has moved", trouble.name)
		}
		p.fetch(t, strict.url, "strict-device")
		wantTree(t, p.file("strict-device"), former)

		began = time.Now()
		p.publish(t, lax.url, version, version)
		t.Logf("%s: the lax node took it after %v", trouble.name, since(began))
		if got := p.fetch(t, lax.url, "lax-device"); got.Version != version {
			t.Errorf("%s: the lax node serves %q", trouble.name, got.Version)
		}
		wantTree(t, p.file("lax-device"), files)
		if body, status := get(t, lax.url+"/readyz"); status != http.StatusOK || !strings.Contains(body, "origin") {
			t.Errorf("%s: /readyz says %d %s", trouble.name, status, body)
		}

		trouble.end()
		began = time.Now()
		until(t, "the origin has what the lax node took", func() bool { return b.read("lax", current) == manifestOf(lax) })
		t.Logf("%s: it was at the origin %v after the trouble", trouble.name, since(began))
		until(t, "the lax node is content", func() bool {
			body, _ := get(t, lax.url+"/readyz")
			return !strings.Contains(body, "origin")
		})
		made = p.publish(t, strict.url, version, version)
		if b.read("strict", current) != manifestOf(strict) {
			t.Errorf("%s: what the strict node acknowledged is not at the origin", trouble.name)
		}
	}

	// A slow origin costs time.
	b.harms(func(_ http.ResponseWriter, r *http.Request) bool {
		<-time.After(100 * time.Millisecond)
		return false
	})
	files = files.with("js/main.js", prose(rnd, 1<<16))
	began := time.Now()
	made = p.publish(t, strict.url, files.write(t, p.file("slow")), "2.0.0")
	t.Logf("slow: the strict node took it after %v", since(began))
	b.harms(nil)

	// One that answers nobody does not hold up devices.
	if err := b.process.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.fetch(t, strict.url, "strict-device")
	wantTree(t, p.file("strict-device"), files)
	if err := b.process.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	// One whose objects are wrong is not believed, whatever it is that is wrong.
	for _, what := range []string{"packs/", "/map.json", "/index.json", "/current.json"} {
		mend := b.spoil(t, "strict", what)
		folder := strings.Trim(strings.ReplaceAll(what, "/", ""), ".")
		n := p.serve(t, folder, withOrigin(b.url("strict"))...)
		until(t, "a node finds that "+what+" is wrong", func() bool {
			body, _ := get(t, n.url+"/readyz")
			return strings.Contains(body, "origin cannot be read") || manifestOf(n) != ""
		})
		if manifestOf(n) != "" {
			t.Errorf("%s is wrong, and the channel came into force", what)
		}
		if status, err := tryArchive(quiet, n, made.Bundle); status == http.StatusOK || err != nil {
			t.Errorf("%s is wrong, and an archive came: %d, %v", what, status, err)
		}
		if o := p.run(t, p.fetchArgs(n.url, folder+"-device")...); o.code == 0 || isInstalled(p.file(folder+"-device")) {
			t.Errorf("%s is wrong, and fetch ended with %d", what, o.code)
		}
		mend()
		began := time.Now()
		until(t, "a node has what is right again", func() bool { return manifestOf(n) == manifestOf(strict) })
		t.Logf("%s: in force %v after it was right again", what, since(began))
		p.fetch(t, n.url, folder+"-device")
		wantTree(t, p.file(folder+"-device"), files)
		n.stop(t)
	}
	if o := p.run(t, p.fetchArgs(strict.url, "strict-device")...); o.code != 0 {
		t.Errorf("the strict node serves nothing any more: %s", o.stderr)
	}
}

// TestFleet_WritesWhatALostNodeTook loses the node that took a release while the origin was down. Those who heard of it
// bring it to the origin.
func TestFleet_WritesWhatALostNodeTook(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	l := newLab(t, "eu", "us")
	p, rnd := l.program, chance(t)
	b := openBucket(t, p)
	for region := range l.regions {
		l.add(t, region, withOrigin(b.urlAt(t, l, region))...)
	}
	for _, m := range l.members {
		m.start(t)
	}
	for _, m := range l.members {
		m.waitFor(t, 2)
	}
	files := webApp(rnd, 1<<18)
	lost, left := l.members[0], l.members[1]
	agree(t, production, lost.publish(t, l.release(t, "1.0.0", files)).Sequence, l.members...)
	current := "channels/" + app + "/" + production + "/current.json"
	until(t, "the origin has the first release", func() bool { return b.read("here", current) == left.manifest(production) })
	b.count()
	looks := 0
	until(t, "both have looked at it", func() bool {
		for call, times := range b.count() {
			if strings.HasPrefix(call, "GET ") && strings.HasSuffix(call, "/current.json") {
				looks += times
			}
		}
		return looks >= 5 // every second, or half as often at the least
	})

	b.stop()
	release := l.release(t, "1.1.0", files.with("js/main.js", prose(rnd, 1<<16)))
	agree(t, production, lost.publish(t, release).Sequence, l.members...)
	lost.kill()
	lost.remove(t)
	b.start(t)
	until(t, "the origin has what only others have left", func() bool {
		return b.read("here", current) == left.manifest(production)
	})
	left.kill()
	left.remove(t)
	left.start(t)
	until(t, "the release is there again", func() bool {
		o := left.tryFetch(t, "device")
		return o.code == 0 && decode[fetched](t, o.stdout).Version == "1.1.0"
	})
	wantTree(t, p.file("device"), release.files)
}

// TestFleet_HalfOfAReleaseAtTheOrigin fails a publish at its last step, when the origin has all but the pointer that
// readers look at. Who publishes again brings the channel on.
func TestFleet_HalfOfAReleaseAtTheOrigin(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	p, rnd := begin(t), chance(t)
	b := openBucket(t, p)
	n := p.serve(t, "data", withOrigin(b.url("here"), "--origin-ack")...)
	files := webApp(rnd, 1<<18)
	p.publish(t, n.url, files.write(t, p.file("first")), "1.0.0")
	before := manifestOf(n)
	deny := says(http.StatusForbidden, "AccessDenied")
	b.harms(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/current.json") && deny(w, r)
	})
	files = files.with("js/main.js", prose(rnd, 1<<16))
	files.write(t, p.file("second"))
	o := p.run(t, p.publishArgs(n.url, "second", "1.1.0", production)...)
	t.Logf("%s", o.stderr)
	if o.code == 0 || manifestOf(n) != before {
		t.Errorf("it ended with %d, and the channel has moved: %v", o.code, manifestOf(n) != before)
	}
	b.harms(nil)
	until(t, "who publishes again gets through", func() bool {
		o := p.run(t, p.publishArgs(n.url, "second", "1.1.0", production)...)
		if o.code != 0 {
			t.Logf("%s", o.stderr)
		}
		return o.code == 0
	})
	if got := p.fetch(t, n.url, "device"); got.Version != "1.1.0" {
		t.Errorf("the node serves %q", got.Version)
	}
	wantTree(t, p.file("device"), files)
	if here := b.read("here", "channels/"+app+"/"+production+"/current.json"); here != manifestOf(n) {
		t.Error("what the node acknowledged is not at the origin")
	}
}
