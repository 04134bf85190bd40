package publish

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
)

// lists has a node answer listings by pages, whatever they say.
func (n *fakeNode) lists(pages ...protocol.Listed) {
	serve := n.Config.Handler
	n.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, protocol.ChannelsPath("acme", "")) {
			serve.ServeHTTP(w, r)
			return
		}
		n.calls = append(n.calls, "LIST "+r.URL.Query().Get("after"))
		raw, _ := io.ReadAll(r.Body)
		trust, err := channel.LoadTrust(n.trust)
		if err == nil {
			_, err = trust.VerifyListing(raw, time.Now())
		}
		if err != nil || r.Method != http.MethodPost {
			n.t.Errorf("%s of a listing that does not count: %v", r.Method, err)
		}
		_ = json.NewEncoder(w).Encode(pages[min(n.called("LIST"), len(pages))-1])
	})
}

func page(next string, channels ...string) protocol.Listed {
	p := protocol.Listed{Org: "acme", Next: next}
	for _, one := range channels {
		app, name, _ := strings.Cut(one, "/")
		p.Channels = append(p.Channels, protocol.ListedChannel{App: app, Channel: name, Manifest: digest.Sum(nil)})
	}
	return p
}

// TestPublisher_RenewableIsWhatTheKeysMayRenew: what a node lists beyond that is left out, page by page.
func TestPublisher_RenewableIsWhatTheKeysMayRenew(t *testing.T) {
	n := newFakeNode(t)
	n.lists(
		page("com.acme.shop/production", "com.acme.shop/beta", "com.acme.shop/production"),
		page("com.initech.desk/production", "com.acme.till/production", "com.initech.desk/production"),
		page("", "com.zz/production"),
	)
	p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Renewable(t.Context())
	want := []Place{{"com.acme.shop", "production"}, {"com.acme.till", "production"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	asked := slices.DeleteFunc(n.calls, func(call string) bool { return !strings.HasPrefix(call, "LIST") })
	if !slices.Equal(asked, []string{"LIST ", "LIST com.acme.shop/production", "LIST com.initech.desk/production"}) {
		t.Errorf("the node was asked for %q", asked)
	}
}

// TestPublisher_RefusesListsThatAreNone: nor does one that never ends keep a publisher busy.
func TestPublisher_RefusesListsThatAreNone(t *testing.T) {
	for what, pages := range map[string][]protocol.Listed{
		"out of order":          {page("", "com.acme.till/production", "com.acme.shop/production")},
		"twice the same":        {page("", "com.acme.shop/production", "com.acme.shop/production")},
		"the same page again":   {page("com.acme.shop/production", "com.acme.shop/production")},
		"empty pages":           {page("com.acme.shop/production")},
		"a cursor of its own":   {page("com.acme.a/x", "com.acme.shop/production")},
		"a name that is a path": {page("", "com.acme.shop/../../v1")},
		"no app":                {page("", "/production")},
	} {
		n := newFakeNode(t)
		n.lists(pages...)
		p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Renewable(t.Context()); err == nil || n.called("LIST") > 2 {
			t.Errorf("%s: %v after %d pages", what, got, n.called("LIST"))
		}
	}
	var endless []protocol.Listed
	for i := range maxPlaces/protocol.MaxListed + 2 {
		var names []string
		for j := range protocol.MaxListed {
			names = append(names, fmt.Sprintf("com.acme.%06d/production", i*protocol.MaxListed+j))
		}
		endless = append(endless, page(names[len(names)-1], names...))
	}
	n := newFakeNode(t)
	n.lists(endless...)
	p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Renewable(t.Context()); err == nil || n.called("LIST") >= len(endless) {
		t.Errorf("a list without an end: %v after %d pages", err, n.called("LIST"))
	}
}

// TestPublisher_AsksForNoListThatItMayNotHave: the keys are held against the trust document first.
func TestPublisher_AsksForNoListThatItMayNotHave(t *testing.T) {
	n := newFakeNode(t)
	n.lists(page("", "com.acme.shop/production"))
	for name, key := range map[string]channel.PrivateKey{"stranger": newKey(t), "root": n.root} {
		p, err := New(Config{Node: n.URL, Trust: n.trust, Keys: []channel.PrivateKey{key}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Renewable(t.Context()); channel.CodeOf(err) == "" || n.called("LIST") > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPublisher_RenewableAtAnOrigin: channels that another org has published to are none of this one's, whatever the
// patterns of its roles.
func TestPublisher_RenewableAtAnOrigin(t *testing.T) {
	n := newFakeNode(t)
	manifest := func(org, app, name string) *channel.Manifest {
		m, err := channel.NewManifest(org, app, name).Publish(channel.Release{
			Version: "1.0.0", Bundle: digest.Sum(nil), SHA256: digest.SumSHA256(nil), Size: 1, Index: digest.Sum(nil),
			IndexSize: 1, Files: 1, Created: time.Now(),
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := channel.SignManifest(m, n.key)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = channel.ParseManifest(raw); err != nil {
			t.Fatal(err)
		}
		return m
	}
	o := &fakeOrigin{trust: n.trust, channels: map[string]*channel.Manifest{
		"com.acme.shop/beta":          manifest("acme", "com.acme.shop", "beta"),
		"com.acme.shop/production":    manifest("acme", "com.acme.shop", "production"),
		"com.acme.stolen/production":  manifest("initech", "com.acme.stolen", "production"),
		"com.acme.till/production":    manifest("acme", "com.acme.till", "production"),
		"com.acme.unheard/production": nil,
		"com.initech.desk/production": manifest("initech", "com.initech.desk", "production"),
	}}
	p, err := New(Config{Origin: o, Trust: n.trust, Keys: []channel.PrivateKey{n.key}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Renewable(t.Context())
	want := []Place{{"com.acme.shop", "production"}, {"com.acme.till", "production"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if names, err := p.Channels(t.Context(), "com.acme.shop"); err != nil || !slices.Equal(names, []string{"beta", "production"}) {
		t.Errorf("channels of one app: %v, %v", names, err)
	}
}
