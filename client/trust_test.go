package client

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/bench/cost"
	"brink/channel"
	"brink/digest"
)

// succeed has the node hand out a next version of the trust document: with a new root, signed by the one before, and
// with the keys that may publish.
func (n *fakeNode) succeed(from []byte, keys ...channel.PrivateKey) []byte {
	n.t.Helper()
	before, err := channel.LoadTrust(from)
	if err != nil {
		n.t.Fatal(err)
	}
	next, fresh := before.Next(), newKey(n.t)
	next.Issued, next.Roots, next.Keys, next.Roles[0].Keys = time.Now(), []channel.PublicKey{fresh.Public()}, nil, nil
	for _, key := range keys {
		next.Keys = append(next.Keys, key.Public())
		next.Roles[0].Keys = append(next.Roles[0].Keys, key.Public().ID())
	}
	raw, err := channel.NewTrust(next, n.root, fresh)
	if err != nil {
		n.t.Fatal(err)
	}
	if n.later == nil {
		n.later = map[uint64][]byte{}
	}
	n.root, n.later[next.Version] = fresh, raw
	return raw
}

// TestTrust_DeviceFollowsEverySuccessor: all roots are replaced twice and the publisher's key with them. The device that
// came with the first document takes what the new key signs, keeps the newest document, and goes by it from then on.
func TestTrust_DeviceFollowsEverySuccessor(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir)
	update(t, c)
	old := node.key
	fresh := newKey(t)
	node.succeed(node.succeed(node.trust, old, fresh), fresh)
	node.key = fresh
	node.publish("1.1.0", version("1.1.0"))
	if r := update(t, c); r.Version != "1.1.0" {
		t.Errorf("it runs %s", r.Version)
	}
	if c.trust.Version() != 3 {
		t.Errorf("it goes by version %d", c.trust.Version())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// What the removed key signs counts no more, also after a restart with the first document and without the hint.
	node.later = nil
	node.key = old
	node.publish("1.2.0", version("1.2.0"))
	c = device(t, node, dir)
	if _, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeUnknownKey || c.trust.Version() != 3 {
		t.Errorf("by version %d: %v", c.trust.Version(), err)
	}
}

// TestTrust_DeviceLearnsOfARevocationWithNothingNew: while there is nothing to fetch, the node's hint suffices.
func TestTrust_DeviceLearnsOfARevocationWithNothingNew(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir)
	update(t, c)
	if r := update(t, c); !r.UpToDate {
		t.Fatalf("there is something new: %+v", r)
	}
	node.succeed(node.trust, newKey(t))
	if _, err := c.Update(t.Context()); channel.CodeOf(err) != channel.CodeUnknownKey || c.trust.Version() != 2 {
		t.Errorf("what a revoked key signed still counts, by version %d: %v", c.trust.Version(), err)
	}
}

// TestTrust_DeviceTakesNoForeignSuccessor: what the roots before did not sign changes nothing, and stops nothing.
func TestTrust_DeviceTakesNoForeignSuccessor(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	c := device(t, node, dir)
	thief := newFakeNode(t)
	node.later = map[uint64][]byte{9: thief.succeed(thief.trust, thief.key)}
	if r := update(t, c); r.Version != "1.0.0" || c.trust.Version() != 1 {
		t.Errorf("it runs %s by version %d", r.Version, c.trust.Version())
	}
	node.later = map[uint64][]byte{9: bytes.Repeat([]byte("x"), channel.MaxTrust+1)}
	node.publish("1.1.0", version("1.1.0"))
	if r := update(t, c); r.Version != "1.1.0" || c.trust.Version() != 1 {
		t.Errorf("it runs %s by version %d", r.Version, c.trust.Version())
	}
}

// TestTrust_ARebuiltAppDecides: a document that comes with a native build and is no ancestor of the kept one
// takes its place, as after the loss of all root keys.
func TestTrust_ARebuiltAppDecides(t *testing.T) {
	node, dir := newFakeNode(t), t.TempDir()
	node.publish("1.0.0", version("1.0.0"))
	node.succeed(node.trust, node.key)
	c := device(t, node, dir)
	update(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	anew := newFakeNode(t)
	c = device(t, node, dir, func(c *Config) { c.Trust = anew.trust })
	if !bytes.Equal(c.trust.Raw(), anew.trust) {
		t.Errorf("it goes by version %d of the former document", c.trust.Version())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// A kept document that cannot be read is an error, and never taken for none: it may have revoked a key.
	if err := os.WriteFile(filepath.Join(dir, trustFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, App: testApp, Channel: testChannel, Trust: node.trust}); err == nil {
		t.Error("a damaged trust document was taken for none")
	}
}

func FuzzDecodeTrust(f *testing.F) {
	root, err := channel.NewKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	document, err := channel.NewTrust(channel.TrustConfig{
		Org: "acme", Issued: time.Unix(1e9, 0), Roots: []channel.PublicKey{root.Public()},
	}, root)
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(savedTrust{From: digest.Sum(document), Document: document})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var trust *channel.Trust
		var from digest.Digest
		var err error
		cost.Check(t, len(raw), func() { trust, from, err = decodeTrust(raw) })
		if err != nil {
			return
		}
		again, err := json.Marshal(savedTrust{From: from, Document: trust.Raw()})
		if err != nil {
			t.Fatal(err)
		}
		if same, _, err := decodeTrust(again); err != nil || same.Digest() != trust.Digest() {
			t.Errorf("what was read is kept as %s: %v", again, err)
		}
	})
}
