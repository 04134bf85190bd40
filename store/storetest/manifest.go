package storetest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"brink/channel"
	"brink/digest"
	"brink/store"
)

func manifestCAS(t *testing.T, s *store.Store) {
	b := Random(t, 1, 10<<10)
	MustPublish(t, s, b)
	first, m1 := Manifest(t, "com.acme.shop", "beta", 1, b)
	second, m2 := Manifest(t, "com.acme.shop", "beta", 2, b)
	if _, err := s.Manifest("com.acme.shop", "beta"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Manifest before = %v, want ErrNotFound", err)
	}
	if err := s.PutManifest(t.Context(), second, m2, digest.Sum(first)); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("PutManifest on none = %v, want ErrConflict", err)
	}
	if err := s.PutManifest(t.Context(), first, m1, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutManifest(t.Context(), second, m2, digest.Digest{}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("PutManifest on another = %v, want ErrConflict", err)
	}
	if err := s.PutManifest(t.Context(), first, m1, digest.Digest{}); err != nil {
		t.Fatalf("PutManifest of what is there = %v", err)
	}
	if err := s.PutManifest(t.Context(), second, m2, digest.Sum(first)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Manifest("com.acme.shop", "beta"); err != nil || !bytes.Equal(got, second) {
		t.Fatalf("Manifest is not the second: %v", err)
	}
	if err := s.PutManifest(t.Context(), first, m2, digest.Sum(second)); !errors.Is(err, store.ErrMismatch) {
		t.Fatalf("PutManifest of other bytes than were verified = %v, want ErrMismatch", err)
	}
	other, m := Manifest(t, "com.acme.shop", "production", 1, b)
	if err := s.PutManifest(t.Context(), other, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := s.Manifests(func(app, channel string, raw []byte, err error) bool {
		if again, err := s.Manifest(app, channel); err != nil || !bytes.Equal(again, raw) {
			t.Errorf("Manifests gives other bytes for %s/%s: %v", app, channel, err)
		}
		names = append(names, app+" "+channel)
		return true
	})
	if got := strings.Join(names, ","); err != nil || got != "com.acme.shop beta,com.acme.shop production" {
		t.Errorf("Manifests = %s, %v", got, err)
	}
}

func manifestNeeds(t *testing.T, s *store.Store) {
	b := Random(t, 1, 10<<10)
	raw, m := Manifest(t, "com.acme.shop", "beta", 1, b)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); !errors.Is(err, store.ErrMissingBundle) {
		t.Fatalf("PutManifest without the bundle = %v, want ErrMissingBundle", err)
	}
	MustPublish(t, s, b)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
}

// manifestNeedsAll publishes what a manifest needs one by one: it is refused until the last is here.
func manifestNeedsAll(t *testing.T, s *store.Store) {
	var old, oldZip, b, zip *Bundle
	for i, one := range []**Bundle{&old, &oldZip, &b, &zip} {
		*one = Random(t, uint64(i), 10<<10)
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	m, err := channel.NewManifest("acme", "com.acme.shop", "beta").Publish(
		Attached(old, "1.0.0", map[string]*Bundle{"zip": oldZip}), now)
	if err != nil {
		t.Fatal(err)
	}
	some := channel.Rollout{Share: 1000}
	if m, err = m.Roll(Attached(b, "1.1.0", map[string]*Bundle{"zip": zip}), some, now); err != nil {
		t.Fatal(err)
	}
	raw, m := Sign(t, m)
	needs := []*Bundle{b, zip, old, oldZip}
	for i, what := range []string{
		"release 1.1.0", "attachment zip of release 1.1.0", "release 1.0.0", "attachment zip of release 1.0.0",
	} {
		err := s.PutManifest(t.Context(), raw, m, digest.Digest{})
		if !errors.Is(err, store.ErrMissingBundle) || !strings.Contains(err.Error(), ": "+what+": ") {
			t.Fatalf("PutManifest with %d of what it needs = %v, want ErrMissingBundle for %s", i, err, what)
		}
		MustPublish(t, s, needs[i])
	}
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
}
