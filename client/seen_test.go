package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"brink/channel"
	"brink/protocol"
)

// nodes are nodes that nothing lies in between: an http client's transport that calls the handler of each host.
type nodes map[string]http.Handler

func (n nodes) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := n[r.URL.Host]
	if handler == nil {
		return nil, fmt.Errorf("no node %s", r.URL.Host)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// replay is a node that gives the manifest that it likes to, and no archive if it does not like to.
type replay struct {
	of       *fakeNode
	manifest []byte
	withheld bool
	seen     func() // called before an archive is withheld or sent
	answered func(manifest []byte)
}

func (p *replay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/check") {
		if p.answered != nil {
			p.answered(p.manifest)
		}
		_ = json.NewEncoder(w).Encode(protocol.CheckAnswer{Decision: channel.Update, Manifest: p.manifest})
		return
	}
	if p.seen != nil {
		p.seen()
	}
	if p.withheld {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":"busy","message":"not now"}`))
		return
	}
	p.of.serve(w, r)
}

// released returns a node that has served 1.0.0, 1.1.0 and 1.2.0, and the manifests of these.
func released(t *testing.T) (node *fakeNode, manifests [][]byte) {
	t.Helper()
	node = newFakeNode(t)
	for _, v := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		node.publish(v, map[string]string{"index.html": v})
	}
	return node, append(node.history, node.manifest)
}

// over returns a change of a device's config that has it ask these nodes, in the order of their names.
func over(all nodes, names ...string) func(*Config) {
	return func(c *Config) {
		c.HTTP, c.Nodes, c.Connections = &http.Client{Transport: all}, nil, 1
		for _, name := range names {
			c.Nodes = append(c.Nodes, "http://"+name)
		}
	}
}

// onDisk returns the highest sequence that was accepted of a channel, as the file says.
func onDisk(t interface{ Fatal(...any) }, dir, name string) uint64 {
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeState(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Channels {
		if f.Seen.Channel == name {
			return f.Seen.Sequence
		}
	}
	return 0
}

func TestClient_SeenIsKeptWhenTheInstallFails(t *testing.T) {
	t.Parallel()
	node, manifests := released(t)
	dir, one := t.TempDir(), &replay{of: node, manifest: manifests[0]}
	change := over(nodes{"one": one}, "one")
	c := device(t, node, dir, change)
	update(t, c)
	one.manifest, one.withheld = manifests[2], true
	if _, err := c.Update(t.Context()); err == nil {
		t.Fatal("no archive was sent, and yet there was an update")
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			c = device(t, node, dir, change)
		}
		one.manifest, one.withheld = manifests[1], false
		if r, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeSequenceNotHigher {
			t.Errorf("a manifest older than one whose install failed, restarted %v: %+v, %v", restarted, r, err)
		}
		wantCurrent(t, dir, map[string]string{"index.html": "1.0.0"})
	}
	one.manifest = manifests[2]
	update(t, c)
	wantCurrent(t, dir, map[string]string{"index.html": "1.2.0"})
}

func TestClient_SeenHoldsForTheNextNode(t *testing.T) {
	t.Parallel()
	node, manifests := released(t)
	dir := t.TempDir()
	c := device(t, node, dir, over(nodes{
		"one": &replay{of: node, manifest: manifests[2], withheld: true}, "two": &replay{of: node, manifest: manifests[1]},
	}, "one", "two"))
	if r, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeSequenceNotHigher {
		t.Errorf("the next node is behind: %+v, %v", r, err)
	}
	if got := onDisk(t, dir, testChannel); got != 3 {
		t.Errorf("sequence %d is remembered, want 3", got)
	}
}

// TestClient_TakesNoUnsignedWordBeforeItIsDone: that nothing is new is no answer for a device that has verified a
// release and not got it.
func TestClient_TakesNoUnsignedWordBeforeItIsDone(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, t.TempDir(), func(c *Config) { c.Connections = 1 })
	update(t, c)
	node.publish("1.1.0", version("1.1.0"))
	node.meddle = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	if _, err := c.Update(t.Context()); err == nil {
		t.Fatal("no archive was sent, and yet there was an update")
	}
	node.unsigned = channel.UpToDate
	if r, err := c.Update(t.Context()); err == nil {
		t.Errorf("an unsigned word that nothing is new: %+v", r)
	}
}

// TestClient_RemembersChannelsThatItLeft: production to beta and back.
func TestClient_RemembersChannelsThatItLeft(t *testing.T) {
	t.Parallel()
	node, manifests := released(t)
	dir, one := t.TempDir(), &replay{of: node, manifest: manifests[2]}
	change := over(nodes{"one": one}, "one")
	follow := func(name string) *Client {
		return device(t, node, dir, change, func(c *Config) { c.Channel = name })
	}
	c := follow(testChannel)
	update(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	one.manifest = node.sign(node.other("beta"))
	c = follow("beta")
	update(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	one.manifest = manifests[1]
	c = follow(testChannel)
	if r, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeSequenceNotHigher {
		t.Errorf("back on a channel, an old manifest: %+v, %v", r, err)
	}
	one.manifest = manifests[2]
	update(t, c)
}

func TestState_RemembersABoundedNumberOfChannels(t *testing.T) {
	t.Parallel()
	s := state{App: testApp}
	for i := range 2 * maxChannels {
		s = s.withChannel(fmt.Sprint(i))
		f := s.channel()
		f.Seen.Sequence = uint64(i)
		s = s.with(f)
	}
	if len(s.Channels) != maxChannels {
		t.Errorf("%d channels are remembered, want %d", len(s.Channels), maxChannels)
	}
	if back := s.withChannel(fmt.Sprint(maxChannels + 1)); back.channel().Seen.Sequence != maxChannels+1 ||
		len(back.Channels) != maxChannels || s.channel().Seen.Sequence != 2*maxChannels-1 {
		t.Errorf("back on a channel: %+v", back.channel())
	}
	if first := s.withChannel("0"); first.channel().Seen.Sequence != 0 || len(first.Channels) != maxChannels {
		t.Errorf("on one that was forgotten: %+v", first.channel())
	}
}

// TestClient_AcceptedSequencesNeverFall has nodes replay and withhold what they like, and devices change their channel
// and be restarted. Whatever a device has verified once holds from then on, for each channel.
func TestClient_AcceptedSequencesNeverFall(t *testing.T) {
	t.Parallel()
	node := newFakeNode(t)
	manifests := map[string][][]byte{}
	major := map[string]string{testChannel: "1", "beta": "2"}
	for _, name := range []string{testChannel, "beta"} {
		node.current, node.manifest, node.history = channel.NewManifest("acme", testApp, name), nil, nil
		for i := range 4 {
			v := fmt.Sprintf("%s.%d.0", major[name], i)
			node.publish(v, map[string]string{"index.html": v})
		}
		manifests[name] = append(node.history, node.manifest)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		following := testChannel
		highest := map[string]uint64{}
		note := func(raw []byte) {
			m, err := channel.ParseManifest(raw)
			if err != nil {
				rt.Fatal(err)
			}
			highest[m.Channel] = max(highest[m.Channel], m.Sequence)
		}
		all := nodes{"one": &replay{of: node, answered: note}, "two": &replay{of: node, answered: note}}
		for _, one := range all {
			one.(*replay).manifest = manifests[following][0]
		}
		open := func() *Client {
			config := Config{
				Dir: dir, App: testApp, Channel: following, Trust: node.trust,
				Confirm: rapid.Bool().Draw(rt, "confirm"),
			}
			over(all, "one", "two")(&config)
			c, err := New(config)
			if err != nil {
				rt.Fatal(err)
			}
			return c
		}
		c := open()
		defer func() { _ = c.Close() }()
		restart := func() {
			if err := c.Close(); err != nil {
				rt.Fatal(err)
			}
			c = open()
		}
		rt.Repeat(map[string]func(*rapid.T){
			"replay": func(rt *rapid.T) {
				one := all[rapid.SampledFrom([]string{"one", "two"}).Draw(rt, "node")].(*replay)
				one.manifest = manifests[following][rapid.IntRange(0, 3).Draw(rt, "manifest")]
				one.withheld = rapid.Bool().Draw(rt, "withheld")
			},
			"update": func(rt *rapid.T) {
				before := highest[following]
				r, err := c.Update(context.Background())
				if err == nil && r.Sequence < before {
					rt.Fatalf("sequence %d was accepted after %d", r.Sequence, before)
				}
			},
			"roll back": func(*rapid.T) {
				// What another channel installed may be above all that this one serves, which is refused for that.
				if p := c.state.Previous; p != nil && strings.HasPrefix(p.Version, major[following]) {
					_, _ = c.Rollback()
				}
			},
			"restart": func(*rapid.T) { restart() },
			"change channel": func(rt *rapid.T) {
				following = rapid.SampledFrom([]string{testChannel, "beta"}).Draw(rt, "channel")
				for _, one := range all {
					one.(*replay).manifest = manifests[following][0]
				}
				restart()
			},
			"": func(rt *rapid.T) {
				for name, sequence := range highest {
					if got := onDisk(rt, dir, name); got != sequence {
						rt.Fatalf("%s: sequence %d is remembered, and %d was verified", name, got, sequence)
					}
				}
			},
		})
	})
}

// TestClient_AsksForASignedWordNowAndThen: what a device has seen need not be sent again, but not for ever.
func TestClient_AsksForASignedWordNowAndThen(t *testing.T) {
	t.Parallel()
	node, now := newFakeNode(t), time.Now()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, t.TempDir(), func(c *Config) { c.Now = func() time.Time { return now } })
	if r, err := c.Update(t.Context()); err != nil || r.SignedAge != 0 {
		t.Fatalf("install: %+v, %v", r, err)
	}
	start := now
	node.unsigned = channel.UpToDate
	now = start.Add(DefaultSignedEvery - time.Second)
	if r := update(t, c); r.SignedAge != DefaultSignedEvery-time.Second || r.SignedAgeSecs != r.SignedAge.Seconds() {
		t.Errorf("after almost a week of unsigned words: %+v", r)
	}
	for name, at := range map[string]time.Time{
		"a week later": start.Add(DefaultSignedEvery), "with a clock that was set back": start.Add(-time.Hour),
	} {
		now = at
		if r, err := c.Update(t.Context()); err == nil {
			t.Errorf("an unsigned word %s: %+v", name, r)
		}
	}
	now, node.unsigned = start.Add(DefaultSignedEvery), ""
	if r := update(t, c); !r.UpToDate || r.SignedAge != 0 {
		t.Errorf("a signed word: %+v", r)
	}
}

// TestClient_LocalStepsNeedNoClock: when its trust document has expired, a device cannot update, and all else works.
func TestClient_LocalStepsNeedNoClock(t *testing.T) {
	t.Parallel()
	node, now, dir := newFakeNode(t), time.Now(), t.TempDir()
	root := newKey(t)
	trust, err := channel.NewTrust(channel.TrustConfig{
		Org: "acme", Issued: now, Expires: now.Add(time.Hour), Roots: []channel.PublicKey{root.Public()},
		Keys: []channel.PublicKey{node.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{node.key.Public().ID()},
			Apps: []channel.Pattern{"*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	node.trust = trust
	change := func(c *Config) { c.Confirm, c.Now = false, func() time.Time { return now } }
	c := device(t, node, dir, change)
	node.publish("1.0.0", version("1.0.0"))
	update(t, c)
	if err := c.Confirm(); err != nil {
		t.Fatal(err)
	}
	node.publish("1.1.0", version("1.1.0"))
	update(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	c = device(t, node, dir, change)
	if r, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeTrustExpired {
		t.Errorf("an update by an expired trust document: %+v, %v", r, err)
	}
	if v, _, err := c.Installed(); v != "1.1.0" || err != nil {
		t.Errorf("Installed = %s, %v", v, err)
	}
	if err := c.Confirm(); err != nil {
		t.Errorf("Confirm = %v", err)
	}
	if r, err := c.Rollback(); err != nil || r.Version != "1.0.0" || r.SignedAge != 2*time.Hour {
		t.Errorf("Rollback = %+v, %v", r, err)
	}
}

// TestClient_StaysWhenAManifestHasExpired: expiry stops moves, and nothing else.
func TestClient_StaysWhenAManifestHasExpired(t *testing.T) {
	t.Parallel()
	node, now, dir := newFakeNode(t), time.Now(), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir, func(c *Config) { c.Now = func() time.Time { return now } })
	update(t, c)
	next, err := node.current.Publish(node.release("1.1.0", version("1.1.0")), now)
	if err != nil {
		t.Fatal(err)
	}
	next.Expires = now.Add(time.Hour).UTC().Truncate(time.Second)
	node.put(next)
	now = now.Add(2 * time.Hour)
	if r, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeExpired {
		t.Errorf("an expired manifest: %+v, %v", r, err)
	}
	wantCurrent(t, dir, version("1.0.0"))
}
