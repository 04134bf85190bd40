package e2e_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestFleet_ServesEveryRegion publishes to one node of three regions, and kills that node as soon as it has told that
// others hold the release too.
func TestFleet_ServesEveryRegion(t *testing.T) {
	t.Parallel()
	l := fleetOf(t, quick, "eu", "eu", "us", "us", "asia")
	p, rnd := l.program, chance(t)
	if l.members[0].status(t).Fleet != "e2e" {
		t.Error("the fleet has no name")
	}

	first := l.release(t, "1.0.0", webApp(rnd, 1<<20))
	began := time.Now()
	made := l.members[2].publish(t, first)
	acknowledged := since(began)
	agree(t, production, made.Sequence, l.members...)
	t.Logf("acknowledged after %v, in force on five nodes after %v", acknowledged, since(began))
	for i, m := range l.members {
		device := fmt.Sprint("device", i)
		if got := p.fetch(t, m.url, device); got.Version != "1.0.0" {
			t.Errorf("%s serves %q", m.name, got.Version)
		}
		wantTree(t, p.file(device), first.files)
	}

	second := l.release(t, "1.1.0", first.files.with("js/main.js", prose(rnd, 1<<17)))
	began = time.Now()
	made = l.members[0].publish(t, second, "--replicas", "3", "--regions", "3")
	l.members[0].kill()
	t.Logf("acknowledged after %v by %v", since(began), made.Replicas)
	regions := map[string]bool{}
	var names []string
	for _, one := range made.Replicas {
		regions[one.Region] = true
		names = append(names, one.Node)
	}
	if len(made.Replicas) < 3 || len(regions) < 3 || names[0] != l.members[0].name {
		t.Errorf("the replicas are %v", made.Replicas)
	}
	// Those that were named serve it now, not later.
	for i, m := range l.members[1:] {
		if !slices.Contains(names, m.name) {
			continue
		}
		device := fmt.Sprint("device", 1+i)
		if got := p.fetch(t, m.url, device); got.Version != "1.1.0" {
			t.Errorf("%s has acknowledged 1.1.0 and serves %q", m.name, got.Version)
		}
		wantTree(t, p.file(device), second.files)
	}
	agree(t, production, made.Sequence, l.members[1:]...)
	// And they hold it: each by itself, on the disk that a kill leaves.
	for _, m := range l.members[1:] {
		m.kill()
	}
	for _, m := range l.members {
		if slices.Contains(names, m.name) {
			m.holds(t, second)
		}
	}
	// More nodes than there are cannot be had, and the release is out all the same.
	for _, m := range l.members[:3] {
		m.start(t)
	}
	for _, m := range l.members[:3] {
		m.waitFor(t, 3)
	}
	third := l.release(t, "1.2.0", first.files)
	args := append(p.publishArgs(l.members[0].url, "1.2.0", third.version, production), "--replicas", "4")
	if o := p.run(t, args...); o.code != 9 {
		t.Errorf("four replicas on three nodes: publish ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	agree(t, production, made.Sequence+1, l.members[:3]...)
}

// follower is a device of one channel that asks one node. It never goes back, and never has anything but what was
// published to the channel.
type follower struct {
	node     *member
	channel  string
	version  string
	sequence uint64
}

// ask brings the device up to date. It may refuse: it has then seen another manifest of the same sequence.
func (f *follower) ask(t *testing.T, published []state) {
	t.Helper()
	p := f.node.lab.program
	device := f.channel + "-" + f.node.name
	o := p.run(t, append(p.fetchArgs(f.node.url, device), "--channel", f.channel)...)
	version := wantOneOfThese(t, p.file(device), published...)
	if version < f.version { // all have one digit in each place
		t.Fatalf("%s went from %s back to %s", device, f.version, version)
	}
	f.version = version
	if o.code != 0 {
		if code := failureOf(t, o).Code; code != "equivocation" {
			t.Errorf("%s: fetch ended with %d, %s\n%s", device, o.code, code, o.stderr)
		}
		return
	}
	got := decode[fetched](t, o.stdout)
	if got.Sequence < f.sequence || got.Version != version {
		t.Fatalf("%s runs %s and took sequence %d after %d: %+v", device, version, got.Sequence, f.sequence, got)
	}
	f.sequence = got.Sequence
}

// TestFleet_HealsAfterACut publishes on both sides of a cut: as often on either side to one channel, which gives two
// manifests of one sequence, and more often on one side to another.
func TestFleet_HealsAfterACut(t *testing.T) {
	t.Parallel()
	onlyLong(t)
	l := fleetOf(t, quick, "eu", "eu", "us", "us")
	rnd := chance(t)
	eu, us := l.members[:2], l.members[2:]
	files := webApp(rnd, 1<<19)
	published := map[string][]state{}
	publish := func(m *member, channel, version string) uint64 {
		t.Helper()
		s := l.release(t, version, files.with("js/main.js", prose(rnd, 1<<16)))
		published[channel] = append(published[channel], s)
		return m.publish(t, s, "--channel", channel).Sequence
	}
	var devices []*follower
	for _, m := range l.members {
		devices = append(devices, &follower{node: m, channel: production}, &follower{node: m, channel: beta})
	}
	askAll := func() {
		t.Helper()
		for _, f := range devices {
			f.ask(t, published[f.channel])
		}
	}
	wantAll := func(channel, version string) {
		t.Helper()
		for _, f := range devices {
			if f.channel == channel && f.version != version {
				t.Errorf("the device of %s at %s runs %q, want %s", channel, f.node.name, f.version, version)
			}
		}
	}
	for _, channel := range []string{production, beta} {
		agree(t, channel, publish(eu[0], channel, "1.0.0"), l.members...)
	}
	askAll()

	l.cut(t, "us")
	for _, m := range l.members {
		m.waitFor(t, 2)
	}
	here, there := publish(eu[0], production, "1.1.0"), publish(us[0], production, "1.2.0")
	if here != there {
		t.Fatalf("the sides are at %d and %d", here, there)
	}
	mine, theirs := agree(t, production, here, eu...), agree(t, production, there, us...)
	if mine == theirs {
		t.Fatal("the cut lets something through")
	}
	publish(eu[1], beta, "1.1.0")
	agree(t, beta, publish(us[1], beta, "1.2.0"), us...)
	last := publish(us[0], beta, "1.3.0")
	higher := agree(t, beta, last, us...)
	askAll()

	l.heal(t, "us")
	began := time.Now()
	until(t, "the fleet has grown together, devices asking all the while", func() bool {
		askAll()
		for _, m := range l.members {
			if m.manifest(production) != l.members[0].manifest(production) || m.manifest(beta) != higher {
				return false
			}
		}
		return true
	})
	t.Logf("healed %v after the cut ended", since(began))
	if same := agree(t, production, here, l.members...); same != mine && same != theirs {
		t.Error("the fleet has something that neither side published")
	}
	askAll()
	wantAll(beta, "1.3.0")
	for _, m := range l.members {
		m.waitFor(t, len(l.members))
	}
	agree(t, production, publish(us[1], production, "1.4.0"), l.members...)
	agree(t, beta, publish(eu[1], beta, "1.4.0"), l.members...)
	askAll()
	wantAll(production, "1.4.0")
	wantAll(beta, "1.4.0")
}

// TestFleet_SurvivesKills kills a node at a time while something is published and fetched.
func TestFleet_SurvivesKills(t *testing.T) {
	t.Parallel()
	l := fleetOf(t, quick, "eu", "us", "asia")
	p, rnd := l.program, chance(t)
	files := tree{"index.html": "<!doctype html><title>shop</title>", "img/hero.webp": noise(rnd, 1<<16)}
	old := l.release(t, "1.0.0", files)
	agree(t, production, l.members[0].publish(t, old).Sequence, l.members...)
	before := old
	var acknowledged, cut, failed int
	var slowest time.Duration
	for i := 1; i <= rounds(3, 100); i++ {
		next := l.release(t, fmt.Sprintf("1.%d.0", i), files.with("js/main.js", prose(rnd, 1<<13)))
		order := rnd.Perm(len(l.members))
		publisher, victim := l.members[order[0]], l.members[rnd.IntN(len(l.members))]
		devices := []string{"device0", "device1"}

		var work sync.WaitGroup
		var published outcome
		asked := make([]outcome, len(devices))
		running := victim.cmd.Process
		later := time.AfterFunc(time.Duration(rnd.IntN(200))*time.Millisecond, func() { _ = running.Kill() })
		work.Go(func() {
			published = p.run(t, p.publishArgs(publisher.url, next.version, next.version, production)...)
		})
		for d, device := range devices {
			work.Go(func() { asked[d] = l.members[order[d+1]].tryFetch(t, device) })
		}
		work.Wait()
		later.Stop() // the kill comes below if it was to come later
		victim.kill()

		for d, device := range devices {
			runs := wantOneOfThese(t, p.file(device), before, old, next)
			if asked[d].code != 0 {
				failed++
			} else if got := decode[fetched](t, asked[d].stdout); got.Version != runs {
				t.Errorf("round %d: %s was told %s and runs %s", i, device, got.Version, runs)
			}
		}
		victim.start(t)
		began := time.Now()
		least := uint64(1)
		if published.code == 0 {
			acknowledged++
			least = decode[replicated](t, published.stdout).Sequence
		} else {
			cut++
		}
		agree(t, production, least, l.members...)
		slowest = max(slowest, since(began))
		turn := i % len(devices) // either device comes to the fleet as it was two rounds ago
		if o := l.members[order[turn]].tryFetch(t, devices[turn]); o.code != 0 {
			t.Fatalf("round %d: fetch from the whole fleet ended with %d\n%s", i, o.code, o.stderr)
		}
		serves := wantOneOfThese(t, p.file(devices[turn]), old, next)
		if published.code == 0 && serves != next.version {
			t.Fatalf("round %d: %s was acknowledged, and the fleet serves %s", i, next.version, serves)
		}
		if before = old; serves == next.version {
			old = next
		}
	}
	t.Logf("%d acknowledged, %d publishes and %d fetches cut; the fleet agreed %v after a restart at the latest",
		acknowledged, cut, failed, slowest)
	for _, m := range l.members {
		m.stop(t)
		m.holds(t, old)
	}
}
