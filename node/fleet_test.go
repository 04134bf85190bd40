package node

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/gossip"
	"brink/node/internal/force"
	"brink/origin/sign"
	"brink/protocol"
	"brink/publish"
)

// quick is gossip at the pace of tests.
func quick() gossip.Pace {
	return gossip.Pace{
		Gossip: 20 * time.Millisecond, Probe: 200 * time.Millisecond, Exchange: 200 * time.Millisecond,
		Leave: time.Second, Reclaim: time.Second, Rejoin: 200 * time.Millisecond,
	}
}

// fleetOf is some nodes that trust the same org and know each other.
type fleetOf struct {
	t     *testing.T
	nodes []*fixture
}

// startFleet runs nodes that each join the first one, in regions that alternate.
func startFleet(t *testing.T, count int, change ...func(int, *Config)) *fleetOf {
	t.Helper()
	f := &fleetOf{t: t}
	for range count {
		f.add(change...)
	}
	return f
}

// add runs one more node.
func (f *fleetOf) add(change ...func(int, *Config)) *fixture {
	f.t.Helper()
	i := len(f.nodes)
	key := filepath.Join(f.t.TempDir(), "fleet.key")
	if i == 0 {
		if err := os.WriteFile(key, []byte(gossip.NewKey()+"\n"), 0o600); err != nil {
			f.t.Fatal(err)
		}
	} else {
		raw, err := os.ReadFile(f.nodes[0].config.Fleet.KeyFile)
		if err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(key, raw, 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	node := start(f.t, func(c *Config) {
		if i > 0 {
			c.Trust = f.nodes[0].config.Trust
			c.Fleet.Join = []string{f.nodes[0].fleet.Address()}
		}
		c.Fleet.Name = "test"
		c.Fleet.Node = "node-" + string(rune('a'+i))
		c.Fleet.Region = []string{"eu", "us"}[i%2]
		c.Fleet.Bind = "127.0.0.1:0"
		c.Fleet.KeyFile = key
		c.Fleet.Pace = quick()
		for _, do := range change {
			do(i, c)
		}
	})
	if i > 0 {
		node.root, node.key = f.nodes[0].root, f.nodes[0].key
	}
	f.nodes = append(f.nodes, node)
	return node
}

// until waits for a condition that nothing tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(time.Minute)
	for !is() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("in a minute it never was so that %s", what)
		}
	}
}

// agree waits until all nodes have the channel at the sequence.
func (f *fleetOf) agree(sequence uint64) {
	f.t.Helper()
	for _, node := range f.nodes {
		until(f.t, node.config.Fleet.Node+" has what was published", func() bool {
			m := node.state.Manifest(testApp, "production")
			return m != nil && m.Sequence >= sequence
		})
	}
}

func TestFleet_SpreadsWhatIsPublished(t *testing.T) {
	f := startFleet(t, 3)
	result := f.nodes[1].publish("1.0.0")
	f.agree(result.Sequence)
	for _, node := range f.nodes {
		resp, body := node.get(protocol.ArchivePath(result.Bundle))
		if resp.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: the archive is %s", node.config.Fleet.Node, resp.Status)
		}
	}
	late := f.add() // a node that was not there yet
	f.agree(result.Sequence)
	if _, err := late.store.Bundle(result.Bundle); err != nil {
		t.Errorf("the late node names what it does not have: %v", err)
	}
}

func TestFleet_StrangersAreRefused(t *testing.T) {
	f := startFleet(t, 1)
	node := f.nodes[0]
	for _, path := range []string{protocol.FleetStatusPath, protocol.FleetStatsPath + "?app=" + testApp + "&days=1"} {
		if resp, body := node.get(path); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s: %s %s", path, resp.Status, body)
		}
	}
	for _, path := range []string{protocol.FleetHoldPath, protocol.FleetDrainPath, protocol.FleetKeysPath} {
		if resp, body := node.do("POST", path, strings.NewReader(`{"drain":true}`)); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("POST %s: %s %s", path, resp.Status, body)
		}
	}
	if !node.health.check().Ready {
		t.Error("a stranger has drained the node")
	}
}

func TestFleet_RotatesItsKey(t *testing.T) {
	f := startFleet(t, 3)
	for _, node := range f.nodes {
		until(t, "all know each other", func() bool { return len(node.fleet.Others()) == 2 })
	}
	before := f.nodes[0].keys()[0]
	done, err := f.nodes[0].fleet.Rotate(context.Background())
	if err != nil || len(done) != 3 {
		t.Fatalf("rotated on %v, %v", done, err)
	}
	for _, node := range f.nodes {
		if keys := node.keys(); len(keys) != 1 || string(keys[0]) == string(before) {
			t.Errorf("%s has %d keys in its file", node.config.Fleet.Node, len(keys))
		}
	}
	result := f.nodes[2].publish("1.0.0") // they still understand each other
	f.agree(result.Sequence)
}

// A node may have its key by value, as from the environment; then the key stays what it is until that changes.
func TestFleet_KeyByValueIsNotRotated(t *testing.T) {
	f := startFleet(t, 2, func(i int, c *Config) {
		if i == 0 {
			return
		}
		raw, err := os.ReadFile(c.Fleet.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		if c.Fleet.Keys, err = gossip.ReadKeys(raw); err != nil {
			t.Fatal(err)
		}
		c.Fleet.KeyFile = ""
	})
	for _, node := range f.nodes {
		until(t, "both know each other", func() bool { return len(node.fleet.Others()) == 1 })
	}
	before := f.nodes[1].config.Fleet.Keys
	for _, node := range f.nodes {
		if done, err := node.fleet.Rotate(context.Background()); err == nil {
			t.Errorf("%s rotated the key on %v", node.config.Fleet.Node, done)
		}
	}
	if got := f.nodes[0].keys(); !slices.EqualFunc(got, before, bytes.Equal) {
		t.Errorf("the node with a file has %d other keys in it", len(got))
	}
	ring, err := sign.NewRing("test", before...)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range f.nodes {
		field := ring.Sign(sign.Request{
			To: node.config.Fleet.Node, Method: http.MethodGet, Target: protocol.FleetStatusPath, Body: digest.Sum(nil),
		}, time.Now())
		resp, body := node.get(protocol.FleetStatusPath, "Authorization", field)
		if resp.StatusCode != http.StatusOK ||
			ring.VerifyAnswer(field, digest.Sum(body), resp.Header.Get(sign.AnswerField)) != nil {
			t.Errorf("%s has other keys: %s %s", node.config.Fleet.Node, resp.Status, body)
		}
	}
	result := f.nodes[0].publish("1.0.0") // they still understand each other
	f.agree(result.Sequence)
}

func TestFleet_HealsLostChunksWhileTheRequestWaits(t *testing.T) {
	f := startFleet(t, 2, func(_ int, c *Config) { c.Hot = -1; c.PatchReleases = -1; c.Prepare = -1 })
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	node := f.nodes[1]
	b, err := node.store.Bundle(result.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(node.config.Data, "chunks"))
	resp, body := node.get(protocol.ArchivePath(result.Bundle))
	if resp.StatusCode != http.StatusOK || int64(len(body)) != b.Index.Archive.Size {
		t.Errorf("the archive is %s with %d bytes", resp.Status, len(body))
	}
	if node.bundles.Healed() == 0 {
		t.Error("nothing was healed")
	}
}

// requestOf asks to publish a version of the site to production.
func requestOf(t *testing.T, version string) publish.Request {
	return publish.Request{Dir: folder(t, www(version)), App: testApp, Version: version, Channel: "production"}
}

// spoil changes a byte in each 512 of the value logs in a folder, which the store has mapped.
func spoil(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there are no value logs in %s: %v", dir, err)
	}
	for _, name := range names {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 4<<20)
		n, _ := file.ReadAt(data, 0)
		for at := 1 << 10; at < n; at += 512 {
			if data[at] != 0 {
				if _, err := file.WriteAt([]byte{^data[at]}, int64(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// successor returns the next version of the fixture's trust document, by which only key may publish.
func (f *fixture) successor(key channel.PrivateKey) []byte {
	f.t.Helper()
	trust := f.state.Trust("acme")
	next := trust.Next()
	next.Issued = time.Now()
	next.Keys = []channel.PublicKey{key.Public()}
	next.Roles = []channel.Role{{
		Name: "publisher", Keys: []string{key.Public().ID()},
		Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
	}}
	raw, err := channel.NewTrust(next, f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

func TestFleet_TrustSpreadsAndTakesOutWhatItNoLongerAllows(t *testing.T) {
	f := startFleet(t, 3)
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	fresh := newKey(t)
	resp, body := f.nodes[2].do(http.MethodPut, protocol.TrustPath("acme"),
		bytes.NewReader(f.nodes[0].successor(fresh)))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the successor is not taken: %s %s", resp.Status, body)
	}
	for _, node := range f.nodes {
		until(t, "the revoked key's release is out of force", func() bool {
			return node.state.Manifest(testApp, "production") == nil
		})
	}
	if resp, body := f.nodes[1].do(http.MethodPut, protocol.TrustPath("acme"),
		bytes.NewReader(trustOf(t, newKey(t), fresh))); resp.StatusCode == http.StatusOK {
		t.Errorf("a stranger has replaced the trust document: %s", body)
	}
	for _, node := range f.nodes {
		node.key = fresh
	}
	request := requestOf(t, "1.1.0")
	request.Restart = true
	expected := func(c *publish.Config) { c.ExpectSequence = new(uint64(1)) }
	again, err := f.nodes[1].publisher(expected).Publish(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	f.agree(again.Sequence)
	// A node that comes back with the document that it was given first goes on with the later one.
	f.nodes[0].restart(func(c *Config) { c.Fleet.Join = []string{f.nodes[1].fleet.Address()} })
	if got := f.nodes[0].state.Trust("acme").Version(); got != 2 {
		t.Errorf("after a restart the trust document has version %d", got)
	}
	f.agree(again.Sequence)
}

func TestFleet_EquivocationIsDecidedAlike(t *testing.T) {
	f := startFleet(t, 2, func(_ int, c *Config) { c.Fleet.Join = nil }) // two that do not know each other
	f.nodes[0].publishFiles("1.0.0", map[string]string{"index.html": "one side of a cut"})
	f.nodes[1].publishFiles("1.0.0", map[string]string{"index.html": "the other side"})
	one, other := f.nodes[0].state.Manifest(testApp, "production"), f.nodes[1].state.Manifest(testApp, "production")
	if one.Sequence != other.Sequence || one.Statement() == other.Statement() {
		t.Fatal("this is no equivocation")
	}
	winner := one.Statement()
	if theirs := other.Statement(); bytes.Compare(theirs[:], winner[:]) > 0 {
		winner = theirs
	}
	f.add(func(_ int, c *Config) {
		c.Fleet.Join = []string{f.nodes[0].fleet.Address(), f.nodes[1].fleet.Address()}
	})
	for _, node := range f.nodes {
		until(t, "all have the same", func() bool {
			m := node.state.Manifest(testApp, "production")
			return m != nil && m.Statement() == winner
		})
	}
	if f.nodes[0].door.Equivocations()+f.nodes[1].door.Equivocations() == 0 {
		t.Error("nobody has reported the equivocation")
	}
	result := f.nodes[2].publish("1.1.0")
	f.agree(result.Sequence)
}

func TestFleet_KeepsTheLastReleaseUntilTheNextCanBeServed(t *testing.T) {
	f := startFleet(t, 2)
	first := f.nodes[0].publish("1.0.0")
	f.agree(first.Sequence)
	m := f.nodes[1].state.Manifest(testApp, "production")
	// A manifest whose bundle nobody has: signed rightly, and of no use.
	raw := f.nodes[0].signed(f.nodes[0].key, func(next *channel.Manifest) {
		next.Sequence = m.Sequence + 1
		next.Release.Version = "1.1.0"
		next.Release.Bundle = digest.Sum([]byte("nobody has it"))
		next.Issued = time.Now()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	from := force.Source{Kind: force.Gossiped, Node: f.nodes[1].fleet.Others()[0].Name}
	if _, err := f.nodes[1].door.Apply(ctx, raw, testApp, "production", from); err == nil {
		t.Error("a release that cannot be had came into force")
	}
	if now := f.nodes[1].state.Manifest(testApp, "production"); now != m {
		t.Errorf("in force is sequence %d", now.Sequence)
	}
}

func TestFleet_ReadsThroughWhatItHasLost(t *testing.T) {
	f := startFleet(t, 2)
	result := f.nodes[0].publish("1.0.0")
	f.agree(result.Sequence)
	node := f.nodes[1]
	node.stop()
	if err := os.RemoveAll(filepath.Join(node.config.Data, "chunks")); err != nil {
		t.Fatal(err)
	}
	node.restart(func(c *Config) { c.Fleet.Join = []string{f.nodes[0].fleet.Address()} })
	until(t, "they know each other", func() bool { return len(node.fleet.Others()) == 1 })
	for _, path := range []string{protocol.IndexPath(result.Bundle), protocol.ArchivePath(result.Bundle)} {
		if resp, body := node.get(path); resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s %s", path, resp.Status, body)
		}
	}
	stranger := digest.Sum([]byte("no channel names it"))
	before := node.filler.Stats().Fills
	if resp, _ := node.get(protocol.IndexPath(stranger)); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a bundle that no channel names: %s", resp.Status)
	}
	if got := node.filler.Stats().Fills; got != before {
		t.Error("a stranger has the fleet searched for a bundle of any name")
	}
}

// TestFleet_AForkEndsAtTheHigherSequence: after a cut one side may have the higher sequence and the other the higher
// version.
func TestFleet_AForkEndsAtTheHigherSequence(t *testing.T) {
	f := startFleet(t, 2, func(_ int, c *Config) { c.Fleet.Join = nil }) // two that do not know each other
	f.nodes[0].publish("1.0.0")
	f.nodes[0].publish("1.0.1")
	long := f.nodes[0].publish("1.0.2")
	f.nodes[1].publish("2.0.0")
	f.add(func(_ int, c *Config) {
		c.Fleet.Join = []string{f.nodes[0].fleet.Address(), f.nodes[1].fleet.Address()}
	})
	f.agree(long.Sequence)
	for _, node := range f.nodes {
		if m := node.state.Manifest(testApp, "production"); m.Release.Version != "1.0.2" {
			t.Errorf("%s serves %s", node.config.Fleet.Node, m.Release.Version)
		}
	}
	// A device that has the higher version is not sent back.
	body := strings.NewReader(`{"channel":"production","device":{"version":"2.0.0"}}`)
	resp, answer := f.nodes[1].do(http.MethodPost, protocol.CheckPath(testApp), body)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"decision":"none"`) {
		t.Errorf("a device above it is told %s", answer)
	}
	f.agree(f.nodes[1].publish("2.1.0").Sequence)
}

func TestFleet_NobodyClaimsToHoldAnotherRelease(t *testing.T) {
	f := startFleet(t, 2)
	first := f.nodes[0].publish("1.0.0")
	f.agree(first.Sequence)
	m := f.nodes[1].state.Manifest(testApp, "production")
	asker, node := f.nodes[0].config.Fleet.Node, f.nodes[1]
	until(t, "they know each other", func() bool { return len(node.fleet.Others()) == 1 })
	ask := func(hold protocol.Hold) (*http.Response, []byte) {
		t.Helper()
		body, field := node.signedPost(node.config.Fleet.Node, protocol.FleetHoldPath, hold, time.Now())
		return node.do(http.MethodPost, protocol.FleetHoldPath, bytes.NewReader(body), "Authorization", field)
	}
	hold := protocol.Hold{
		App: testApp, Channel: "production", Order: m.Order(), Statement: m.Statement(), Bundle: m.Release.Bundle,
		From: asker,
	}
	if resp, body := ask(hold); resp.StatusCode != http.StatusOK {
		t.Errorf("it does not hold what is in force: %s %s", resp.Status, body)
	}
	other := hold
	other.Statement = digest.Sum([]byte("the other side of a cut"))
	resp, body := ask(other) // else it claims another statement of the same sequence
	wantProblem(t, resp, body, http.StatusPreconditionFailed, protocol.CodeConflict)
	f.agree(f.nodes[0].publish("1.1.0").Sequence)
	if resp, body := ask(hold); resp.StatusCode != http.StatusOK {
		t.Errorf("a channel that has moved on holds the release before: %s %s", resp.Status, body)
	}
	other.Bundle = digest.Sum([]byte("what it never had"))
	resp, body = ask(other) // else a higher sequence passes for a release that it never had
	wantProblem(t, resp, body, http.StatusPreconditionFailed, protocol.CodeConflict)
}

func TestFleet_ANodeWithNothingLearnsBeforeItIsReady(t *testing.T) {
	f := startFleet(t, 1)
	result := f.nodes[0].publish("1.0.0")
	until(t, "the first is ready", func() bool { return f.nodes[0].health.check().Ready })
	node := f.add(func(_ int, c *Config) { c.Fleet.Pace.Exchange = time.Hour })
	until(t, "the second is ready", func() bool { return node.health.check().Ready })
	if m := node.state.Manifest(testApp, "production"); m == nil || m.Sequence != result.Sequence {
		t.Error("it was ready before it had what the fleet has")
	}
}

// A node that is drained while it learns what the fleet has stays drained.
func TestFleet_ADrainWhileStartingStays(t *testing.T) {
	var logs lockedBuffer
	f := startFleet(t, 0)
	node := f.add(func(_ int, c *Config) {
		c.Fleet.Join = []string{"127.0.0.1:1"} // nobody is there
		c.Logger = slog.New(slog.NewTextHandler(&logs, nil))
	})
	if status, err := node.fleet.DrainNode(t.Context(), node.config.Fleet.Node, true); err != nil {
		t.Fatalf("drain: %+v, %v", status, err)
	}
	until(t, "the node has begun", func() bool { return strings.Contains(logs.String(), "node is ready") })
	if got := node.health.check(); got.Ready || got.Reasons[0] != phaseDraining {
		t.Errorf("after it has begun: %+v", got)
	}
}
