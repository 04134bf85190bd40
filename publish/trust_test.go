package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brink/channel"
)

// thief is a node or a bucket without any key of the org. It has keys of its own, and a trust document that lists them
// beside the org's.
type thief struct {
	root, key channel.PrivateKey
	trust     []byte
}

func newThief(t *testing.T, of channel.PrivateKey, version uint64) *thief {
	t.Helper()
	th := &thief{root: newKey(t), key: newKey(t)}
	var err error
	th.trust, err = channel.NewTrust(channel.TrustConfig{
		Org: "acme", Version: version, Issued: time.Now(), Roots: []channel.PublicKey{th.root.Public()},
		Keys: []channel.PublicKey{of.Public(), th.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{of.Public().ID(), th.key.Public().ID()},
			Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, th.root)
	if err != nil {
		t.Fatal(err)
	}
	return th
}

// spoilt returns manifests that the thief made of a good one, by what is wrong with them.
func (th *thief) spoilt(t *testing.T, good *channel.Manifest) map[string][]byte {
	t.Helper()
	other := good.Release
	other.Bundle[0] ^= 1
	changes := map[string]func(*channel.Manifest){
		"release":      func(m *channel.Manifest) { m.Release.Bundle = other.Bundle },
		"history":      func(m *channel.Manifest) { m.History[0].Bundle = other.Bundle },
		"rollout base": func(m *channel.Manifest) { m.Rollout = &channel.Rollout{Share: 0, From: m.History[0].Version} },
		"override": func(m *channel.Manifest) {
			m.Overrides = []channel.Override{{Device: m.HashDevice("victim"), Version: m.History[0].Version}}
		},
		"sequence": func(m *channel.Manifest) { m.Sequence = channel.EpochSize - 2 },
		"epoch":    func(m *channel.Manifest) { m.Sequence = channel.EpochSize * 7 },
	}
	spoilt := map[string][]byte{}
	for what, change := range changes {
		m, err := good.Amend(good.Release, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if spoilt[what], err = channel.SignManifest(m, th.key); err != nil {
			t.Fatal(err)
		}
	}
	return spoilt
}

// verbs are all that sign.
func verbs(t *testing.T) map[string]func(*Publisher) error {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<!doctype html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	request := Request{Dir: dir, App: testApp, Version: "1.2.0", Channel: "production"}
	return map[string]func(*Publisher) error{
		"publish": func(p *Publisher) error {
			_, err := p.Publish(t.Context(), request)
			return err
		},
		"publish to some": func(p *Publisher) error {
			some := request
			some.Rollout = &channel.Rollout{Share: 500}
			_, err := p.Publish(t.Context(), some)
			return err
		},
		"publish anew": func(p *Publisher) error {
			anew := request
			anew.Restart = true
			_, err := p.Publish(t.Context(), anew)
			return err
		},
		"promote": func(p *Publisher) error {
			_, err := p.Promote(t.Context(), testApp, "production", "production", false)
			return err
		},
		"roll out": func(p *Publisher) error {
			_, err := p.RollOut(t.Context(), testApp, "production", "production", channel.Rollout{Share: 500}, false)
			return err
		},
		"roll back": func(p *Publisher) error {
			_, err := p.RollBack(t.Context(), testApp, "production", "", false)
			return err
		},
		"change": func(p *Publisher) error {
			_, err := p.Change(t.Context(), testApp, "production", false,
				func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(time.Now()) })
			return err
		},
		"renew": func(p *Publisher) error {
			_, err := p.Renew(t.Context(), testApp, "production", 1000*time.Hour, false)
			return err
		},
	}
}

// TestTrust_NoVerbSignsWhatTheOtherSideSupplies: whatever a node or a bucket without keys makes up, every verb fails
// before there is a signature. The publisher of the test has no key, so signing would fail in another way.
func TestTrust_NoVerbSignsWhatTheOtherSideSupplies(t *testing.T) {
	n := newFakeNode(t)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		if _, err := n.publish(func(_ *Config, r *Request) { r.Version = version }); err != nil {
			t.Fatal(err)
		}
		n.manifest = n.moved
	}
	good, err := channel.ParseManifest(n.manifest)
	if err != nil {
		t.Fatal(err)
	}
	sides := map[string]func(trust, manifest []byte) (Config, func() int){
		"node": func(trust, manifest []byte) (Config, func() int) {
			n.foreign, n.manifest, n.calls = trust, manifest, nil
			return Config{Node: n.URL, HTTP: n.Client()}, func() int { return n.called("PUT") + n.called("POST") }
		},
		"bucket": func(trust, manifest []byte) (Config, func() int) {
			o := &hostileOrigin{trust: trust, manifest: manifest}
			return Config{Origin: o}, func() int { return o.written }
		},
	}
	for side, serve := range sides {
		for verb, do := range verbs(t) {
			try := func(what string, trust, manifest []byte, want func(error) bool) {
				t.Helper()
				config, written := serve(trust, manifest)
				config.Trust = n.trust
				p, err := New(config)
				if err != nil {
					t.Fatal(err)
				}
				if err := do(p); !want(err) {
					t.Errorf("%s, %s, %s: %v", side, verb, what, err)
				}
				if count := written(); count > 0 {
					t.Errorf("%s, %s, %s: %d writes", side, verb, what, count)
				}
			}
			foreign := func(err error) bool { return errors.Is(err, ErrForeignTrust) }
			for _, version := range []uint64{1, 2, 9} {
				th := newThief(t, n.key, version)
				try("self-made trust document", th.trust, n.moved, foreign)
			}
			th := newThief(t, n.key, 2)
			for what, manifest := range th.spoilt(t, good) {
				try("self-made trust document and "+what, th.trust, manifest, foreign)
				try(what, n.trust, manifest, func(err error) bool {
					if verb == "publish anew" && what != "epoch" {
						return errors.Is(err, ErrSequence)
					}
					return channel.CodeOf(err) == channel.CodeUnknownKey || errors.Is(err, ErrSequence)
				})
			}
		}
	}
}

// hostileOrigin hands out what it was told to, and counts what is written.
type hostileOrigin struct {
	fakeOrigin

	trust, manifest []byte
	written         int
}

func (o *hostileOrigin) Trust(context.Context, string) ([]byte, error) { return o.trust, nil }

func (o *hostileOrigin) Manifest(context.Context, string, string) ([]byte, error) {
	return o.manifest, nil
}

func (o *hostileOrigin) PutTrust(context.Context, []byte) error {
	o.written++
	return nil
}

// TestTrust_SuccessorIsTakenAndHandedBack: a document that the publisher's roots agree to takes the place of his, also
// over several versions, and is handed back to be kept.
func TestTrust_SuccessorIsTakenAndHandedBack(t *testing.T) {
	n := newFakeNode(t)
	first, err := channel.LoadTrust(n.trust)
	if err != nil {
		t.Fatal(err)
	}
	second := newKey(t)
	two := first.Next()
	two.Issued, two.Expires = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	two.Roots = []channel.PublicKey{second.Public()}
	n.versions = map[uint64][]byte{2: sign(t, two, n.root, second)}
	third := newKey(t)
	three := two
	three.Version, three.Issued, three.Expires = 3, time.Now(), time.Time{}
	three.Roots = []channel.PublicKey{third.Public()}
	n.foreign = sign(t, three, second, third)

	var kept *channel.Trust
	if _, err := n.publish(func(c *Config, _ *Request) { c.Advanced = func(next *channel.Trust) { kept = next } }); err != nil {
		t.Fatal(err)
	}
	if kept == nil || kept.Version() != 3 {
		t.Errorf("handed back %v", kept)
	}
	// A node that is behind makes nothing older.
	n.trust, n.foreign, kept = n.foreign, n.trust, nil
	n.manifest, n.moved = n.moved, nil
	if _, err := n.publish(func(c *Config, r *Request) {
		r.Version = "1.1.0"
		c.Advanced = func(next *channel.Trust) { kept = next }
	}); err != nil || kept != nil || n.moved == nil {
		t.Errorf("to a node that is behind: %v, handed back %v", err, kept)
	}
}

func sign(t *testing.T, c channel.TrustConfig, keys ...channel.PrivateKey) []byte {
	t.Helper()
	raw, err := channel.NewTrust(c, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTrust_IsRequiredAndMustHoldTheApp(t *testing.T) {
	n := newFakeNode(t)
	if _, err := New(Config{Node: n.URL, Keys: []channel.PrivateKey{n.key}}); err == nil ||
		!strings.Contains(err.Error(), "trust document") {
		t.Errorf("without a trust document: %v", err)
	}
	if _, err := New(Config{Node: n.URL, Trust: []byte("{}")}); err == nil {
		t.Error("nonsense was taken for a trust document")
	}
	_, err := n.publish(func(_ *Config, r *Request) { r.App = "com.initech.shop" })
	if channel.CodeOf(err) != channel.CodeWrongApp || n.called("POST")+n.called("PUT") > 0 {
		t.Errorf("an app of another org: %v", err)
	}
}

// TestExpectSequence_PinsWhatIsMovedFrom: an old manifest that was validly signed is no forgery; a publisher that knows
// where the channel is finds out.
func TestExpectSequence_PinsWhatIsMovedFrom(t *testing.T) {
	n := newFakeNode(t)
	expect := func(sequence uint64) func(*Config, *Request) {
		return func(c *Config, _ *Request) { c.ExpectSequence = &sequence }
	}
	if _, err := n.publish(expect(0)); err != nil {
		t.Fatal(err)
	}
	frozen := n.moved
	n.manifest = n.moved
	next := func(_ *Config, r *Request) { r.Version = "1.1.0" }
	if _, err := n.publish(next, expect(1)); err != nil {
		t.Fatal(err)
	}
	n.manifest, n.moved, n.calls = frozen, nil, nil
	third := func(_ *Config, r *Request) { r.Version = "1.2.0" }
	if _, err := n.publish(third, expect(2)); !errors.Is(err, ErrSequence) || n.called("P") > 0 {
		t.Errorf("a frozen node: %v", err)
	}
	p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}, ExpectSequence: new(uint64(2))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Change(t.Context(), testApp, "production", false,
		func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(time.Now()) })
	if !errors.Is(err, ErrSequence) || n.moved != nil {
		t.Errorf("a frozen node, and a change: %v", err)
	}
	if _, err := p.Renew(t.Context(), testApp, "production", 1000*24*time.Hour, false); !errors.Is(err, ErrSequence) ||
		n.moved != nil {
		t.Errorf("a frozen node, and a renewal: %v", err)
	}
}
