package force

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/protocol"
	"brink/store"
	"brink/store/storetest"
)

// fixture is a door on a store of its own.
type fixture struct {
	*Door

	t         *testing.T
	root, key channel.PrivateKey
	bundle    *storetest.Bundle
	prepare   func(ctx context.Context) // called by Prepare
	announced []*channel.Manifest
	written   error // what WriteThrough returns
}

func newKey(t *testing.T) channel.PrivateKey {
	t.Helper()
	key, err := channel.NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, root: newKey(t), key: newKey(t), prepare: func(context.Context) {}}
	raw, err := channel.NewTrust(channel.TrustConfig{
		Org:    "acme",
		Issued: time.Now(),
		Roots:  []channel.PublicKey{f.root.Public()},
		Keys:   []channel.PublicKey{f.key.Public()},
		Roles: []channel.Role{{
			Name: "publisher", Keys: []string{f.key.Public().ID()},
			Apps: []channel.Pattern{"com.acme.*"}, Channels: []channel.Pattern{"*"},
		}},
	}, f.root)
	if err != nil {
		t.Fatal(err)
	}
	state := NewState()
	if err := state.AddTrust(raw); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Dir: t.TempDir(), Quota: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	f.bundle = storetest.Random(t, 1, 1000)
	storetest.MustPublish(t, s, f.bundle)
	f.Door = NewDoor(Config{
		State: state, Store: s, Accounts: NewAccounts(state, s, time.Now), Fetcher: f, Preparer: f, Origin: f,
		Announcer: f, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err := f.RestoreTrust(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// Fetch implements Fetcher: no bundle is found.
func (f *fixture) Fetch(context.Context, digest.Digest, string, bool) error {
	return errors.New("nobody has it")
}

// Prepare implements Preparer.
func (f *fixture) Prepare(ctx context.Context, _ *channel.Manifest, _ Source) { f.prepare(ctx) }

// Enqueue implements Preparer.
func (f *fixture) Enqueue(*channel.Manifest) {}

// WriteThrough implements Origin.
func (f *fixture) WriteThrough(context.Context, *channel.Manifest) error { return f.written }

// AnnounceManifest implements Announcer.
func (f *fixture) AnnounceManifest(m *channel.Manifest) { f.announced = append(f.announced, m) }

// AnnounceTrust implements Announcer.
func (f *fixture) AnnounceTrust(*channel.Trust) {}

// signed returns a manifest of the bundle that is in the store.
func (f *fixture) signed(sequence uint64) []byte {
	f.t.Helper()
	m := channel.NewManifest("acme", testApp, "production")
	m.Sequence, m.Issued, m.Release = sequence, time.Now().UTC(), storetest.Release(f.bundle, "1.0.0")
	raw, err := channel.SignManifest(m, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

// revoke replaces the trust document by one without the publisher's key.
func (f *fixture) revoke() {
	f.t.Helper()
	next := f.State.Trust("acme").Next()
	next.Issued = time.Now()
	other := newKey(f.t)
	next.Keys = []channel.PublicKey{other.Public()}
	next.Roles[0].Keys = []string{other.Public().ID()}
	raw, err := channel.NewTrust(next, f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.ApplyTrust(f.t.Context(), "acme", raw, nil); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) enter(raw []byte, from Source) error {
	_, err := f.Apply(f.t.Context(), raw, testApp, "production", from)
	return err
}

// The key is revoked while the release waits for its representations.
func TestDoor_RefusesKeysRevokedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.prepare = func(context.Context) { f.revoke() }
	if err := f.enter(f.signed(1), Source{Kind: Published}); channel.CodeOf(err) == "" {
		t.Errorf("a manifest signed by a key that was revoked meanwhile: %v", err)
	}
	if m := f.State.Manifest(testApp, "production"); m != nil {
		t.Errorf("in force is sequence %d", m.Sequence)
	}
	if _, err := f.Store.Manifest(testApp, "production"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the store has a manifest that was never in force: %v", err)
	}
}

func TestDoor_ChangesNothingIfTheOriginRefuses(t *testing.T) {
	f := newFixture(t)
	f.written = errors.New("the origin is down")
	if err := f.enter(f.signed(1), Source{}); !errors.Is(err, f.written) {
		t.Errorf("Apply = %v", err)
	}
	if m, _ := f.State.Current(testApp, "production"); m != nil || len(f.announced) > 0 {
		t.Errorf("%v is in force, %d were announced", m, len(f.announced))
	}
}

func TestDoor_WaitsForALockUntilTheContextEnds(t *testing.T) {
	f := newFixture(t)
	if err := f.locks.acquire(t.Context(), testApp+"/production"); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := f.Apply(ctx, f.signed(1), testApp, "production", Source{}); !errors.Is(err, gone) {
		t.Errorf("Apply = %v, want the cause of the context's end", err)
	}
	f.locks.release(testApp + "/production")
	if err := f.enter(f.signed(1), Source{}); err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

func TestDoor_ChecksTheOrderOfManifests(t *testing.T) {
	f := newFixture(t)
	first, second := f.signed(1), f.signed(2)
	if err := f.enter(first, Source{Kind: Published}); err != nil {
		t.Fatal(err)
	}
	expect := digest.Sum(first)
	for _, test := range []struct {
		name string
		raw  []byte
		from Source
		code string
	}{
		{"the same again", first, Source{Kind: Published}, ""},
		{"without what it replaces", second, Source{Kind: Published}, protocol.CodeConflict},
		{"another of the sequence", f.signed(1), Source{Kind: Published, Expect: expect}, string(channel.CodeEquivocation)},
		{"older, from the origin", first, Source{Kind: Mirrored}, ""},
	} {
		err := f.enter(test.raw, test.from)
		code := protocol.CodeOf(err)
		if code == "" {
			code = string(channel.CodeOf(err))
		}
		if code != test.code {
			t.Errorf("%s: %v, want %q", test.name, err, test.code)
		}
	}
	if err := f.enter(second, Source{Kind: Published, Expect: expect}); err != nil {
		t.Errorf("the next: %v", err)
	}
	if got := f.announced[len(f.announced)-1].Sequence; got != 2 {
		t.Errorf("announced is sequence %d", got)
	}
}

// having is a Fetcher of bundles that are there already.
type having struct{}

func (having) Fetch(context.Context, digest.Digest, string, bool) error { return nil }

// Whether the other manifest wins or loses, an equivocation counts once for each manifest that shows it.
func TestDoor_ReportsAnEquivocationOnce(t *testing.T) {
	f := newFixture(t)
	f.Fetcher = having{}
	for i := range 20 {
		_, err := f.Apply(t.Context(), f.signed(1), testApp, "production", Source{Kind: Gossiped, Node: "other"})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Equivocations(); got != int64(i) {
			t.Fatalf("after %d manifests of one sequence %d equivocations are counted", i+1, got)
		}
	}
	if len(f.announced) < 2 {
		t.Errorf("%d manifests came into force: none that won was tried", len(f.announced))
	}
}
