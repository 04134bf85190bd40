package e2e_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"brink/channel"
	"brink/protocol"
)

// TestHostile_StolenKeyUsesUpTheSequences has a thief with the publisher's key sign the highest sequence there is, so
// that nothing could follow. The root key takes the key out and begins a new epoch: devices that have nothing but the
// first trust document come back, and nothing that the thief signed or signs counts any more.
func TestHostile_StolenKeyUsesUpTheSequences(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	first, next := tree{"index.html": "first"}, tree{"index.html": "next"}
	p.publish(t, n.url, first.write(t, p.file("first")), "1.0.0")
	for _, device := range []string{"robbed", "spared"} {
		p.fetch(t, n.url, device)
	}
	former := p.trust + ".former"
	copyFile(t, p.file(p.trust), p.file(former))

	// The thief's own node takes what the key signs: that is what the key is for.
	thief := &program{path: p.path, dir: p.dir, trust: former, key: p.key}
	den := thief.serve(t, "den")
	thief.publish(t, den.url, loot().write(t, p.file("loot")), "9.0.0")
	made, err := channel.ParseManifest([]byte(manifestOf(den)))
	if err != nil {
		t.Fatal(err)
	}
	highest := thief.signed(t, made, channel.EpochSize-1)
	robs := subvert(t, den, replay(isCheck, updateBy(highest)), replay(isManifest, highest))
	if got := thief.fetch(t, robs.url, "robbed"); got.Sequence != channel.EpochSize-1 {
		t.Fatalf("before anybody knows of the theft the key counts: %+v", got)
	}

	// What the owner does, as described in docs/keys.md.
	p.must(t, "key", "new", "new.key")
	p.must(t, "org", "update", p.trust, "--root", "root.key", "--remove-publisher", p.key+".pub",
		"--publisher", "new.key.pub", "--reset", app+"/"+production)
	p.must(t, "org", "push", p.trust, "--node", n.url)
	p.key = "new.key"
	args := p.publishArgs(n.url, next.write(t, p.file("next")), "1.1.0", production)
	p.must(t, append(args, "--restart")...)

	// Devices have the first trust document still. One of them runs the thief's release, whose files it keeps until the
	// next update, for the app may be running; it does not go back to it.
	if got := thief.fetch(t, n.url, "robbed"); got.Version != "1.1.0" {
		t.Errorf("the device that ran the thief's release has %+v", got)
	}
	if o := thief.run(t, append(thief.fetchArgs(n.url, "robbed"), "--rollback")...); o.code != 5 {
		t.Errorf("a rollback to the thief's release ended with %d: %s", o.code, o.stdout)
	}
	wantTree(t, p.file("robbed"), next)
	next = tree{"index.html": "after next"}
	p.publish(t, n.url, next.write(t, p.file("after")), "1.2.0")
	for _, device := range []string{"robbed", "spared", "new"} {
		thief.wantHonest(t, device, "1.2.0", next, n.url)
	}

	// The thief goes on: with what was signed before, and in the new epoch.
	later := thief.signed(t, made, channel.EpochSize+5)
	again := subvert(t, den, replay(isCheck, updateBy(later)))
	for _, device := range []string{"robbed", "spared", "new"} {
		for _, hostile := range []*hostileNode{robs, again} {
			if said := thief.wantRefused(t, device, next, hostile.url); said.Code != "unknown_key" {
				t.Errorf("%s: the refusal is %+v", device, said)
			}
			thief.wantHonest(t, device, "1.2.0", next, hostile.url, n.url)
		}
	}
	before := manifestOf(n)
	for name, manifest := range map[string]string{"highest": highest, "in the new epoch": later} {
		if status := put(t, n.url+protocol.ChannelPath(app, production), manifest, before); status < 400 || status >= 500 {
			t.Errorf("the node answers the thief's manifest that is %s with %d", name, status)
		}
	}
	for _, trust := range []string{former, p.trust} {
		thief.trust = trust
		o := thief.run(t, thief.publishArgs(n.url, "loot", "9.1.0", production)...)
		if o.code != 3 || !strings.Contains(o.stderr, `"unknown_key"`) {
			t.Errorf("the thief's publish ended with %d: %s", o.code, o.stderr)
		}
	}
	if manifestOf(n) != before {
		t.Error("the thief has changed the channel")
	}
}

// signed returns the manifest signed with another sequence.
func (p *program) signed(t *testing.T, m *channel.Manifest, sequence uint64) string {
	t.Helper()
	raw, err := os.ReadFile(p.file(p.key))
	if err != nil {
		t.Fatal(err)
	}
	key, err := channel.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	other := *m
	other.Sequence = sequence
	signed, err := channel.SignManifest(&other, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// updateBy is the answer to a check that has the manifest.
func updateBy(manifest string) string { return `{"decision":"update","manifest":` + manifest + `}` }

// put sends a manifest to take the place of another, and returns the status.
func put(t *testing.T, url, manifest, before string) int {
	t.Helper()
	m, err := channel.ParseManifest([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-Match", protocol.Tag(m.Digest()))
	resp, err := quiet.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
