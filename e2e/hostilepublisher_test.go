package e2e_test

import (
	"testing"
)

// verbs returns every call that signs, by name, without the flags that all have.
func verbs(folder string) map[string][]string {
	moves := func(args ...string) []string { return append(args, "--channel", production) }
	return map[string][]string{
		"publish":         moves("publish", folder, "--version", "1.2.0"),
		"publish percent": moves("publish", folder, "--version", "1.2.0", "--percent", "5"),
		"publish anew":    moves("publish", folder, "--version", "1.2.0", "--restart"),
		"promote":         {"channel", "promote", "--from", beta, "--to", production},
		"promote onto":    {"channel", "promote", "--from", production, "--to", beta},
		"rollback":        moves("channel", "rollback"),
		"revert":          moves("channel", "revert"),
		"rollout":         moves("channel", "rollout", "--percent", "5"),
		"override":        moves("channel", "override", "--device", "d1"),
		"set":             moves("channel", "set", "--private"),
		"renew":           moves("channel", "renew", "--within", "never"),
	}
}

// signArgs are the flags of every verb that signs.
func (p *program) signArgs(url string, verb []string) []string {
	flags := []string{"--json", "--node", url, "--key", p.key, "--trust", p.trust, "--app", app}
	return append(append([]string{}, verb...), flags...)
}

// TestHostile_NodeForgesToPublishers has a node offer publishers the attacker's manifest to build upon: a signature of
// theirs on top of it would bring the attacker's release to all devices.
func TestHostile_NodeForgesToPublishers(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	p.publish(t, n.url, tree{"index.html": "honest"}.write(t, p.file("www")), "1.0.0")
	p.must(t, p.publishArgs(n.url, "www", "1.0.0", beta)...)
	before := manifestOf(n)

	own, later := p.forge(t, 1), p.forge(t, 3)
	for name, test := range map[string]struct {
		hostile *hostileNode
		code    string
	}{
		"its own trust document":   {subvert(t, own), "foreign_trust"},
		"a later one of its own":   {subvert(t, later), "foreign_trust"},
		"the org's trust document": {subvert(t, own, divert(t, isTrust, n)), "unknown_key"},
		"that of another org":      {subvert(t, own, replay(isTrust, p.otherTrust(t))), "foreign_trust"},
		"no trust document":        {subvert(t, own, refuse(isTrust, 404, "unknown_org")), "unknown_key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for verb, args := range verbs("www") {
				if verb == "publish anew" && test.code == "unknown_key" {
					continue // it says to go on from the sequence of a manifest that is not believed
				}
				o := p.run(t, p.signArgs(test.hostile.url, args)...)
				if o.code == 0 {
					t.Errorf("%s ended well: %s", verb, o.stdout)
				} else if said := failureOf(t, o); o.code != 3 || said.Code != test.code {
					t.Errorf("%s ended with %d: %+v", verb, o.code, said)
				}
			}
			test.hostile.wantReads(t)
		})
	}
	t.Cleanup(func() {
		if manifestOf(n) != before {
			t.Error("the honest node has another manifest")
		}
	})
}

// TestHostile_NodeIsFrozenToPublishers has a node show publishers a manifest that was replaced long ago. One who knows
// how far the channel is signs nothing on top of it.
func TestHostile_NodeIsFrozenToPublishers(t *testing.T) {
	t.Parallel()
	p := begin(t)
	n := p.serve(t, "data")
	tree{"index.html": "shop"}.write(t, p.file("www"))
	p.publish(t, n.url, "www", "1.0.0")
	p.must(t, p.publishArgs(n.url, "www", "1.0.0", beta)...)
	frozen := subvert(t, n, replay(isManifest, manifestOf(n)))
	p.publish(t, n.url, "www", "1.1.0")
	for name, args := range verbs("www") {
		if name == "renew" || name == "promote onto" || name == "publish anew" {
			continue // the first renews many channels, the second moves another one, the third is for what is not believed
		}
		args = append(p.signArgs(frozen.url, args), "--expect-sequence", "2")
		o := p.run(t, args...)
		if o.code == 0 {
			t.Errorf("%s ended well: %s", name, o.stdout)
		} else if said := failureOf(t, o); o.code != 4 || said.Code != "unexpected_sequence" {
			t.Errorf("%s ended with %d: %+v", name, o.code, said)
		}
	}
	frozen.wantReads(t)
}
