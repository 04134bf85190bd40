package publish

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
)

// TestPush_MovesWhatSeveralMachinesSigned: a manifest that needs two keys is made with one, moves nothing, and moves the
// channel when the other one has signed and the channel is still where it was.
func TestPush_MovesWhatSeveralMachinesSigned(t *testing.T) {
	root, a, b := newKey(t), newKey(t), newKey(t)
	trust, err := channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{root.Public()},
		Keys:   []channel.PublicKey{a.Public(), b.Public()},
		Roles: []channel.Role{{
			Name: "gate", Keys: []string{a.Public().ID(), b.Public().ID()}, Threshold: 2,
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, root)
	if err != nil {
		t.Fatal(err)
	}
	o := &fakeOrigin{
		bundles: map[digest.Digest]bool{}, chunks: map[digest.Digest]bool{},
		channels: map[string]*channel.Manifest{},
	}
	publisher := func(half func([]byte) error, keys ...channel.PrivateKey) *Publisher {
		t.Helper()
		p, err := New(Config{Origin: o, Trust: trust, Keys: keys, HalfSigned: half})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	both := publisher(nil, a, b)
	first := Request{Dir: dir, App: testApp, Version: "1.0.0", Channel: "production"}
	if _, err := both.Publish(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	revert := func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(time.Now()) }
	if _, err := publisher(nil, a).Change(t.Context(), testApp, "production", false, revert); channel.CodeOf(err) !=
		channel.CodeNotEnoughSignatures {
		t.Fatalf("with one key of two: %v", err)
	}
	var half []byte
	one := publisher(func(raw []byte) error { half = raw; return nil }, a)
	if c, err := one.Change(t.Context(), testApp, "production", true, revert); err != nil || half != nil || !c.HalfSigned {
		t.Fatalf("a dry run: %+v, %v", c, err)
	}
	if c, err := one.Change(t.Context(), testApp, "production", false, revert); err != nil || !c.HalfSigned || half == nil {
		t.Fatalf("half signed: %+v, %v", c, err)
	}
	serves := func() *channel.Manifest { return o.channels[testApp+"/production"] }
	if serves().Sequence != 1 {
		t.Fatal("a half-signed manifest moved the channel")
	}
	nobody := publisher(nil)
	if _, err := nobody.Push(t.Context(), half, false); channel.CodeOf(err) != channel.CodeNotEnoughSignatures {
		t.Errorf("pushed half signed: %v", err)
	}
	whole, err := channel.Cosign(half, b)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := nobody.Push(t.Context(), whole, true); err != nil || serves().Sequence != 1 || len(r.Serves) == 0 {
		t.Errorf("a dry run: %+v, %v", r, err)
	}
	if r, err := nobody.Push(t.Context(), whole, false); err != nil || serves().Sequence != 2 || !serves().Reverted() {
		t.Errorf("pushed: %+v, %v", r, err)
	}
	if r, err := nobody.Push(t.Context(), whole, false); err != nil || !r.Unchanged {
		t.Errorf("pushed again: %+v, %v", r, err)
	}
	next := first
	next.Version = "1.1.0"
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Publish(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.Push(t.Context(), whole, false); !errors.Is(err, ErrConflict) {
		t.Errorf("pushed after the channel has moved: %v", err)
	}
}
