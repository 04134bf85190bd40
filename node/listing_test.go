package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/node/internal/force"
	"brink/protocol"
	"brink/publish"
)

// listingNode is a node of two orgs: acme, whose keys may do different things, and abacus, whose app a role of acme
// matches too.
type listingNode struct {
	*fixture

	cron, till, abacus channel.PrivateKey // may renew all of acme, publish com.acme.till, publish all of abacus
}

func startListing(t *testing.T) listingNode {
	t.Helper()
	root := newKey(t)
	n := listingNode{cron: newKey(t), till: newKey(t), abacus: newKey(t)}
	key := newKey(t)
	role := func(name string, key channel.PrivateKey, apps, channels channel.Pattern, may ...channel.Action) channel.Role {
		return channel.Role{
			Name: name, Keys: []string{key.Public().ID()}, Apps: []channel.Pattern{apps},
			Channels: []channel.Pattern{channels}, May: may,
		}
	}
	document := func(org string, keys []channel.PrivateKey, roles ...channel.Role) []byte {
		c := channel.TrustConfig{Org: org, Issued: time.Now(), Roots: []channel.PublicKey{root.Public()}, Roles: roles}
		for _, key := range keys {
			c.Keys = append(c.Keys, key.Public())
		}
		raw, err := channel.NewTrust(c, root)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	acme := document("acme", []channel.PrivateKey{key, n.cron, n.till}, role("publisher", key, "com.acme.*", "*"),
		role("renewer", n.cron, "*", "*", channel.ActionRenew), role("till", n.till, "com.acme.till", "production"))
	abacus := document("abacus", []channel.PrivateKey{n.abacus}, role("publisher", n.abacus, "com.abacus.*", "*"))
	n.fixture = start(t, func(c *Config) { c.Trust = [][]byte{acme, abacus} })
	n.root, n.key = root, key
	put := func(p *publish.Publisher, app string, channels ...string) {
		t.Helper()
		for _, name := range channels {
			request := publish.Request{Dir: folder(t, map[string]string{"a": app}), App: app, Version: "1.0.0", Channel: name}
			if _, err := p.Publish(t.Context(), request); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(n.publisher(), "com.acme.shop", "production", "beta")
	put(n.publisher(), "com.acme.till", "production", "beta")
	put(n.publisher(func(c *publish.Config) { c.Trust, c.Keys = abacus, []channel.PrivateKey{n.abacus} }),
		"com.abacus.desk", "production")
	return n
}

// ask sends a listing that the key signed.
func (n listingNode) ask(org, after string, key channel.PrivateKey, at time.Time) (*http.Response, []byte) {
	n.t.Helper()
	raw, err := channel.SignListing(org, at, key)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.do(http.MethodPost, protocol.ChannelsPath("acme", after), bytes.NewReader(raw))
}

// TestNode_ListsChannelsToKeysOfTheOrgOnly: what an org has is told to its keys, to each as far as its roles hold it,
// and to nobody else.
func TestNode_ListsChannelsToKeysOfTheOrgOnly(t *testing.T) {
	n := startListing(t)
	all := []string{"com.acme.shop/beta", "com.acme.shop/production", "com.acme.till/beta", "com.acme.till/production"}
	for what, test := range map[string]struct {
		key   channel.PrivateKey
		after string
		want  []string
	}{
		"a publisher":                   {n.key, "", all},
		"a key that may renew all apps": {n.cron, "", all},
		"a key of one app":              {n.till, "", all[3:]},
		"after one of several":          {n.key, all[1], all[2:]},
		"after one that is not there":   {n.key, "com.acme.shop/c", all[1:]},
		"after the last":                {n.key, all[3], nil},
	} {
		resp, body := n.ask("acme", test.after, test.key, time.Now())
		var page protocol.Listed
		if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != 200 || page.Org != "acme" || page.Next != "" {
			t.Errorf("%s: %d %s, %v", what, resp.StatusCode, body, err)
		}
		var got []string
		for _, one := range page.Channels {
			got = append(got, one.App+"/"+one.Channel)
			m := n.state.Manifest(one.App, one.Channel)
			if one.Sequence != 1 || one.Manifest != m.Digest() || !one.Expires.Equal(m.Expires) {
				t.Errorf("%s: %+v", what, one)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s is told of %v, want %v", what, got, test.want)
		}
		if cache := resp.Header.Get("Cache-Control"); cache != "no-store" {
			t.Errorf("%s: the answer may be kept: %q", what, cache)
		}
	}
	for what, test := range map[string]struct {
		org  string
		key  channel.PrivateKey
		at   time.Time
		code channel.Code
	}{
		"a stranger":                 {"acme", newKey(t), time.Now(), channel.CodeUnknownKey},
		"a key of another org":       {"acme", n.abacus, time.Now(), channel.CodeUnknownKey},
		"a listing of another org":   {"abacus", n.key, time.Now(), channel.CodeWrongOrg},
		"a root key":                 {"acme", n.root, time.Now(), channel.CodeWrongRole},
		"a listing that has expired": {"acme", n.key, time.Now().Add(-channel.ListingLife - time.Second), channel.CodeExpired},
		"a listing of the future":    {"acme", n.key, time.Now().Add(time.Hour), channel.CodeNotYetValid},
	} {
		// That the cursor is none is for those to know who may ask.
		for _, after := range []string{"", "nonsense"} {
			resp, body := n.ask(test.org, after, test.key, test.at)
			wantProblem(t, resp, body, 403, string(test.code))
			if strings.Contains(string(body), "com.") {
				t.Errorf("%s is told %s", what, body)
			}
		}
	}
	resp, body := n.ask("acme", "nonsense", n.key, time.Now())
	wantProblem(t, resp, body, 400, protocol.CodeBadRequest)
	resp, body = n.get(protocol.ChannelsPath("acme", ""))
	wantProblem(t, resp, body, 405, protocol.CodeMethodNotAllowed)
	resp, body = n.do(http.MethodPost, protocol.ChannelsPath("hooli", ""), strings.NewReader("{}"))
	wantProblem(t, resp, body, 404, protocol.CodeUnknownOrg)
	resp, body = n.do(http.MethodPost, protocol.ChannelsPath("acme", ""),
		bytes.NewReader(make([]byte, channel.MaxListing+1)))
	wantProblem(t, resp, body, 413, protocol.CodeTooLarge)
	raw := n.state.Manifest("com.acme.shop", "beta").Raw()
	resp, body = n.do(http.MethodPost, protocol.ChannelsPath("acme", ""), bytes.NewReader(raw))
	wantProblem(t, resp, body, 400, string(channel.CodeWrongType))
}

// TestNode_ListsChannelsByPages: however many channels there are, all of them are told of, each once.
func TestNode_ListsChannelsByPages(t *testing.T) {
	f := start(t)
	var want []publish.Place
	for i := range 2*protocol.MaxListed + 1 {
		at := publish.Place{App: fmt.Sprintf("com.acme.%04d", i/3), Channel: fmt.Sprintf("beta-%d", i%3)}
		m := channel.NewManifest("acme", at.App, at.Channel)
		m.Sequence, m.Issued = 1, time.Now().UTC()
		m.Release = channel.Release{
			Version: "1.0.0", Bundle: digest.Digest{1}, SHA256: digest.SHA256{1}, Size: 1, Index: digest.Digest{2},
			IndexSize: 1, Files: 1, Created: time.Now().UTC(),
		}
		raw, err := channel.SignManifest(m, f.key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.door.Apply(t.Context(), raw, at.App, at.Channel, force.Source{Kind: force.Stored}); err != nil {
			t.Fatal(err)
		}
		want = append(want, at)
	}
	got, err := f.publisher().Renewable(context.Background())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d of %d channels are listed: %v", len(got), len(want), err)
	}
}

// TestPublisher_RenewsWhatANodeLists goes the whole way.
func TestPublisher_RenewsWhatANodeLists(t *testing.T) {
	n := startListing(t)
	p := n.publisher(func(c *publish.Config) { c.Keys = []channel.PrivateKey{n.cron} })
	places, err := p.Renewable(t.Context())
	if err != nil || len(places) != 4 {
		t.Fatalf("to renew: %v, %v", places, err)
	}
	for _, at := range places {
		r, err := p.Renew(t.Context(), at.App, at.Channel, 1000*24*time.Hour, false)
		if err != nil || r.Renewal != 1 || n.state.Manifest(at.App, at.Channel).Renewal() != 1 {
			t.Errorf("%v: %+v, %v", at, r, err)
		}
	}
}
