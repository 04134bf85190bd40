package e2e_test

import (
	"net/http"
	"os"
	"testing"

	"brink/protocol"
)

// TestHostile_NodeForgesReleases has a node serve what the attacker's keys signed, under a trust document of the same
// org that the attacker made and that lists the real publisher too.
func TestHostile_NodeForgesReleases(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data")
	first := webApp(rnd, 64<<10)
	next := first.with("js/main.js", noise(rnd, 128<<10))
	p.publish(t, n.url, first.write(t, p.file("first")), "1.0.0")
	p.fetch(t, n.url, "device")
	p.publish(t, n.url, next.write(t, p.file("next")), "1.1.0")

	own, later := p.forge(t, 1), p.forge(t, 3)
	for name, hostile := range map[string]*hostileNode{
		"its own trust document":   subvert(t, own),
		"a later one of its own":   subvert(t, later),
		"the org's trust document": subvert(t, own, divert(t, isTrust, n)),
		"no trust document":        subvert(t, later, refuse(isTrust, http.StatusNotFound, protocol.CodeUnknownOrg)),
		"no JSON":                  subvert(t, later, replay(isTrust, "<html>")),
		"that of another org":      subvert(t, later, replay(isTrust, p.otherTrust(t))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := "device of " + name
			replicate(t, p.file("device"), p.file(old))
			for device, before := range map[string]tree{"new of " + name: nil, old: first} {
				if said := p.wantRefused(t, device, before, hostile.url); said.Code != "unknown_key" {
					t.Errorf("the refusal is %+v", said)
				}
				p.wantHonest(t, device, "1.1.0", next, hostile.url, n.url)
			}
		})
	}
}

// forge returns a node on which an attacker has published, under a trust document of that version.
func (p *program) forge(t *testing.T, version int) *node {
	t.Helper()
	thief := p.thief(t, version)
	n := thief.serve(t, "data")
	folder := loot().write(t, thief.file("loot"))
	for _, version := range []string{"9.9.8", "9.9.9"} {
		thief.publish(t, n.url, loot().with("version", version).write(t, folder), version)
	}
	return n
}

// otherTrust returns the trust document of an org of another name, by the same keys.
func (p *program) otherTrust(t *testing.T) string {
	t.Helper()
	const file = "umbrella.trust.json"
	p.must(t, "org", "new", "umbrella", "--root", "root.key", "--publisher", p.key+".pub", "--apps", "com.acme.*",
		"--out", file)
	raw, err := os.ReadFile(p.file(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestHostile_NodeReplaysOlderReleases has a node answer with what it was told long ago: to devices that run something
// newer, and to those that have seen the newer manifest and could not install it.
func TestHostile_NodeReplaysOlderReleases(t *testing.T) {
	t.Parallel()
	p, rnd := begin(t), chance(t)
	n := p.serve(t, "data")
	first := webApp(rnd, 64<<10)
	next := first.with("js/main.js", noise(rnd, 128<<10))
	p.publish(t, n.url, first.write(t, p.file("first")), "1.0.0")
	p.fetch(t, n.url, "held back")
	older := subvert(t, n, replay(isCheck, checkAnswer(t, n, app, production)))
	p.publish(t, n.url, next.write(t, p.file("next")), "1.1.0")
	withholds := subvert(t, n, refuse(isArchive, http.StatusServiceUnavailable, protocol.CodeUnavailable))

	p.fetch(t, n.url, "ahead")
	for device, before := range map[string]tree{"ahead": next, "held back": first, "new": nil} {
		if device != "ahead" {
			p.wantRefused(t, device, before, withholds.url)
		}
		if said := p.wantRefused(t, device, before, older.url); said.Code != "sequence_not_higher" {
			t.Errorf("%s: the refusal is %+v", device, said)
		}
		p.wantHonest(t, device, "1.1.0", next, older.url, n.url)
	}
	// Both in one call: what the first node showed counts for the second.
	p.wantRefused(t, "other", nil, withholds.url, older.url)
	p.wantHonest(t, "other", "1.1.0", next, withholds.url, older.url, n.url)
}

// TestHostile_NodeSwapsChannels has a node answer with what the org's keys signed for another channel or app.
func TestHostile_NodeSwapsChannels(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	const till = "com.acme.till"
	files := tree{"index.html": "shop"}
	p.publish(t, n.url, files.write(t, p.file("www")), "1.0.0")
	loot().write(t, p.file("loot"))
	p.must(t, p.publishArgs(n.url, "loot", "2.0.0", beta)...)
	p.must(t, "publish", "loot", "--node", n.url, "--key", p.key, "--trust", p.trust,
		"--app", till, "--version", "2.0.0", "--channel", production)
	for name, test := range map[string]struct{ app, channel, code string }{
		"another channel": {app: app, channel: beta, code: "wrong_channel"},
		"another app":     {app: till, channel: production, code: "wrong_app"},
	} {
		manifest, _ := get(t, n.url+protocol.ChannelPath(test.app, test.channel))
		hostile := subvert(t, n, replay(isCheck, checkAnswer(t, n, test.app, test.channel)))
		if said := p.wantRefused(t, name, nil, hostile.url); said.Code != test.code {
			t.Errorf("%s: the refusal is %+v", name, said)
		}
		p.wantHonest(t, name, "1.0.0", files, hostile.url, n.url)

		// A publisher who is told so signs nothing on top of it.
		hostile = subvert(t, n, replay(isManifest, manifest))
		o := p.run(t, p.publishArgs(hostile.url, "www", "3.0.0", production)...)
		if said := failureOf(t, o); o.code != 3 || said.Code != test.code {
			t.Errorf("%s: publish ended with %d: %+v", name, o.code, said)
		}
		hostile.wantReads(t)
	}
}

// TestHostile_NodeIsFrozen has a node that tells nobody of newer releases. The expiry of the manifest bounds for how long
// that works.
func TestHostile_NodeIsFrozen(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	first, next := tree{"index.html": "first"}, tree{"index.html": "next"}
	args := p.publishArgs(n.url, first.write(t, p.file("first")), "1.0.0", production)
	p.must(t, append(args, "--expires", "4s")...)
	p.fetch(t, n.url, "device")
	old := checkAnswer(t, n, app, production)
	manifest := manifestOf(n)
	args = p.publishArgs(n.url, next.write(t, p.file("next")), "1.1.0", production)
	p.must(t, append(args, "--expires", "1h")...)

	replays := subvert(t, n, replay(isCheck, old), replay(isManifest, manifest))
	silent := subvert(t, n, replay(isCheck, `{"decision":"up_to_date","sequence":1}`))
	until(t, "the old manifest has expired", func() bool {
		o := p.fetchFrom(t, "new", replays.url)
		if o.code == 0 {
			p.wantRuns(t, "new", first)
			return false
		}
		return failureOf(t, o).Code == "expired"
	})
	for name, hostile := range map[string]*hostileNode{"replays": replays, "silent": silent} {
		replicate(t, p.file("device"), p.file(name))
		p.wantRefused(t, name, first, hostile.url)
		p.wantHonest(t, name, "1.1.0", next, hostile.url, n.url)
	}
}
