package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"brink/bundle"
	"brink/channel"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

// clock is a time that moves by a minute whenever somebody looks, so that uses have an order.
type clock struct{ minutes atomic.Int64 }

func (c *clock) Now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.minutes.Add(1)) * time.Minute)
}

func has(t testing.TB, s *store.Store, b *storetest.Bundle) bool {
	t.Helper()
	for info := range s.Bundles() {
		if info.ID == b.ID() {
			storetest.CheckBundle(t, s, b)
			return true
		}
	}
	return false
}

func stats(t testing.TB, s *store.Store) store.Stats {
	t.Helper()
	stats, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func TestIngest_ReservesBeforeWriting(t *testing.T) {
	s := open(t, store.Config{Quota: 4 << 20})
	a, b := storetest.Random(t, 1, 3<<20), storetest.Random(t, 2, 3<<20)
	first, err := s.Ingest(t.Context(), store.IngestRequest{Index: a.Index})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: b.Index}); !errors.Is(err, store.ErrQuota) {
		t.Fatalf("Ingest of a second one = %v, want ErrQuota: both cannot fit", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	storetest.MustPublish(t, s, b)
	huge := storetest.Random(t, 3, 5<<20)
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: huge.Index}); !errors.Is(err, store.ErrQuota) {
		t.Fatalf("Ingest of more than the quota = %v, want ErrQuota", err)
	}
	if !has(t, s, b) {
		t.Error("a bundle was evicted for one that cannot fit")
	}
}

func TestEvict_WhatIsWorthLeastGoesFirst(t *testing.T) {
	c := &clock{}
	s := open(t, store.Config{Quota: 10 << 20, LowWater: 0.9, Now: c.Now})
	var bundles []*storetest.Bundle
	for i := range 3 {
		bundles = append(bundles, storetest.Random(t, uint64(i), 2<<20))
		storetest.MustPublish(t, s, bundles[i])
	}
	key := store.DerivedKey{Source: bundles[0].ID(), Kind: "zstd"}
	if _, err := s.PutDerived(t.Context(), key, bytes.NewReader(storetest.Noise(9, 3<<19))); err != nil {
		t.Fatal(err)
	}
	unfinished := storetest.Random(t, 10, 3<<19)
	in, err := s.Ingest(t.Context(), store.IngestRequest{Index: unfinished.Index})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range unfinished.Frames {
		if err := in.Put(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	// The first bundle is used now, so the second is the one used longest ago.
	if _, err := s.Bundle(bundles[0].ID()); err != nil {
		t.Fatal(err)
	}
	present := func(b *storetest.Bundle) bool {
		for info := range s.Bundles() { // which notes no use
			if info.ID == b.ID() {
				return true
			}
		}
		return false
	}
	// 9 MiB are used and every step adds 1. Above 9.5 MiB eviction begins, and ends below 9.
	for i, want := range []struct{ unfinished, derived, oldest bool }{
		{false, true, true},
		{false, false, true},
		{false, false, true}, // it fits
		{false, false, false},
	} {
		storetest.MustPublish(t, s, storetest.Random(t, uint64(100+i), 1<<20))
		got := want
		got.unfinished = false
		for d := range unfinished.Frames {
			known, err := s.Has(d)
			got.unfinished = got.unfinished || known || err != nil
		}
		got.derived = stats(t, s).Derived == 1
		got.oldest = present(bundles[1])
		if got != want || !present(bundles[0]) {
			t.Errorf("step %d: there are %+v, want %+v", i, got, want)
		}
	}
	if got := stats(t, s); got.Stored > got.Quota || got.Reserved != 0 {
		t.Errorf("Stats = %+v", got)
	}
}

func TestEvict_KeepsWhatChannelsNeed(t *testing.T) {
	c := &clock{}
	s := open(t, store.Config{Quota: 8 << 20, KeepReleases: 1, Now: c.Now})
	var served, before, older, newest *storetest.Bundle
	for i, b := range []**storetest.Bundle{&served, &before, &older} {
		*b = storetest.Random(t, uint64(i), 2<<20)
		storetest.MustPublish(t, s, *b)
	}
	raw, m := storetest.Manifest(t, "com.acme.shop", "beta", 1, served, before, older)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	newest = storetest.Random(t, 3, 3<<20)
	storetest.MustPublish(t, s, newest)
	if !has(t, s, served) || !has(t, s, before) || has(t, s, older) {
		t.Fatal("want the release served and one before it, and no more")
	}
	raw2, m2 := storetest.Manifest(t, "com.acme.shop", "beta", 2, newest, served, before)
	if err := s.PutManifest(t.Context(), raw2, m2, digest.Sum(raw)); err != nil {
		t.Fatal(err)
	}
	another := storetest.Random(t, 4, 2<<20)
	storetest.MustPublish(t, s, another)
	if !has(t, s, served) || !has(t, s, newest) || has(t, s, before) {
		t.Fatal("want the release served now and one before it, and no more")
	}
	tooMuch := storetest.Random(t, 5, 4<<20)
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: tooMuch.Index}); !errors.Is(err, store.ErrQuota) {
		t.Fatalf("Ingest = %v, want ErrQuota: what is needed leaves no room", err)
	}
	if !has(t, s, another) {
		t.Error("a bundle was evicted for one that cannot fit")
	}
}

// Attachments stay and go with their releases: the one that is served has a zip, and so had the two before it.
func TestEvict_KeepsAttachmentsOfWhatChannelsNeed(t *testing.T) {
	c := &clock{}
	s := open(t, store.Config{Quota: 2 << 20, KeepReleases: 1, Now: c.Now})
	m, now := channel.NewManifest("acme", "com.acme.shop", "beta"), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var all, zips []*storetest.Bundle
	for i, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		b, zip := storetest.Random(t, uint64(i), 256<<10), storetest.Random(t, uint64(10+i), 256<<10)
		storetest.MustPublish(t, s, zip)
		storetest.MustPublish(t, s, b)
		next, err := m.Publish(storetest.Attached(b, version, map[string]*storetest.Bundle{"zip": zip}), now)
		if err != nil {
			t.Fatal(err)
		}
		m, all, zips = next, append(all, b), append(zips, zip)
	}
	raw, m := storetest.Sign(t, m)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	// Room for it is there only when all goes that may go.
	storetest.MustPublish(t, s, storetest.Random(t, 20, 7<<17))
	for i, want := range []bool{false, true, true} {
		if got, zip := has(t, s, all[i]), has(t, s, zips[i]); got != want || zip != want {
			t.Errorf("release %d is here: %v, its zip: %v, want both %v", i, got, zip, want)
		}
	}
	// An override gives the oldest to somebody, so it is needed again, and its zip too.
	m, err := m.SetOverride(channel.Override{Device: m.HashDevice("a"), Version: "1.0.0"}, now)
	if err != nil {
		t.Fatal(err)
	}
	pinned, m := storetest.Sign(t, m)
	for _, b := range []*storetest.Bundle{all[0], zips[0]} {
		if err := s.PutManifest(t.Context(), pinned, m, digest.Sum(raw)); !errors.Is(err, store.ErrMissingBundle) {
			t.Fatalf("PutManifest = %v, want ErrMissingBundle", err)
		}
		storetest.MustPublish(t, s, b)
	}
	if err := s.PutManifest(t.Context(), pinned, m, digest.Sum(raw)); err != nil {
		t.Fatal(err)
	}
	tooMuch := storetest.Random(t, 21, 3<<18)
	if _, err := s.Ingest(t.Context(), store.IngestRequest{Index: tooMuch.Index}); !errors.Is(err, store.ErrQuota) {
		t.Fatalf("Ingest = %v, want ErrQuota: what is needed leaves no room", err)
	}
}

func TestPutDerived_EvictsNoBundle(t *testing.T) {
	s := open(t, store.Config{Quota: 4 << 20})
	b := storetest.Random(t, 1, 3<<20)
	storetest.MustPublish(t, s, b)
	key := func(i int) store.DerivedKey { return store.DerivedKey{Source: b.ID(), Kind: fmt.Sprint("k", i)} }
	for i := range 8 {
		if _, err := s.PutDerived(t.Context(), key(i), bytes.NewReader(storetest.Noise(uint64(i), 300<<10))); err != nil {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	if got := stats(t, s); got.EvictedDerived == 0 || got.Stored > got.Quota {
		t.Errorf("Stats = %+v: want derived objects evicted for others", got)
	}
	tooMuch := bytes.NewReader(storetest.Noise(9, 2<<20))
	if _, err := s.PutDerived(t.Context(), key(9), tooMuch); !errors.Is(err, store.ErrQuota) {
		t.Errorf("PutDerived = %v, want ErrQuota", err)
	}
	if !has(t, s, b) {
		t.Error("a bundle was evicted for derived content")
	}
}

// Whatever word a source has for its being cut: what came of it is not kept as if it were the whole.
func TestPutDerived_KeepsNothingOfASourceThatWasCut(t *testing.T) {
	s := open(t, store.Config{})
	key := store.DerivedKey{Source: digest.Sum([]byte("whole")), Kind: "zstd"}
	for _, cut := range []error{io.ErrUnexpectedEOF, fmt.Errorf("peer: %w", io.EOF), errors.New("reset by peer")} {
		for _, n := range []int{0, 1000, 300 << 10} {
			source := io.MultiReader(bytes.NewReader(storetest.Noise(1, n)), iotest.ErrReader(cut))
			if _, err := s.PutDerived(t.Context(), key, source); !errors.Is(err, cut) {
				t.Errorf("PutDerived of a source that says %q after %d bytes = %v", cut, n, err)
			}
			if _, err := s.Derived(key); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Derived = %v, want ErrNotFound", err)
			}
		}
	}
	for _, n := range []int{0, 1, 300 << 10} {
		whole := storetest.Noise(1, n)
		o, err := s.PutDerived(t.Context(), key, iotest.DataErrReader(bytes.NewReader(whole)))
		if err != nil || o.Digest() != digest.Sum(whole) {
			t.Errorf("PutDerived of %d bytes: %v", n, err)
		}
	}
}

// Shared chunks outlive the bundle that brought them.
func TestEvict_SharedChunksStay(t *testing.T) {
	c := &clock{}
	s := open(t, store.Config{Quota: 8 << 20, Now: c.Now})
	common := storetest.Noise(1, 2<<20)
	old := storetest.New(t, map[string][]byte{"common": common, "own": storetest.Noise(2, 2<<20)})
	next := storetest.New(t, map[string][]byte{"common": common, "own": storetest.Noise(3, 2<<20)})
	storetest.MustPublish(t, s, old)
	storetest.MustPublish(t, s, next)
	storetest.MustPublish(t, s, storetest.Random(t, 4, 2<<20))
	if has(t, s, old) || !has(t, s, next) {
		t.Error("want the older bundle evicted and the younger one whole")
	}
}

// Goroutines publish, read and drop bundles that share chunks while others collect garbage without pause. What was
// committed and is needed by a channel must stay whole.
func TestStore_SweepAndIngestTogether(t *testing.T) {
	s := open(t, store.Config{Quota: 12 << 20})
	shared := storetest.Noise(1, 1<<20)
	keep := storetest.New(t, map[string][]byte{"shared": shared, "own": storetest.Noise(2, 512<<10)})
	storetest.MustPublish(t, s, keep)
	raw, m := storetest.Manifest(t, "com.acme.shop", "beta", 1, keep)
	if err := s.PutManifest(t.Context(), raw, m, digest.Digest{}); err != nil {
		t.Fatal(err)
	}
	const bundles, rounds = 12, 6
	all := make([]*storetest.Bundle, bundles)
	for i := range all {
		all[i] = storetest.New(t, map[string][]byte{
			"shared": shared[:len(shared)-i], "own": storetest.Noise(uint64(10+i), 1<<20),
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	var collectors, publishers sync.WaitGroup
	for range 2 {
		collectors.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.GC(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("GC: %v", err)
				}
			}
		})
		collectors.Go(func() {
			for ctx.Err() == nil {
				for d := range keep.Frames {
					if _, err := s.Chunk(ctx, bundle.Chunk{Digest: d}); err != nil && ctx.Err() == nil {
						t.Errorf("Chunk: %v", err)
					}
				}
			}
		})
	}
	for worker := range 4 {
		publishers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for range rounds {
				b := all[rnd.IntN(bundles)]
				in, err := s.Ingest(ctx, store.IngestRequest{Index: b.Index})
				if errors.Is(err, store.ErrQuota) {
					continue // the others hold all that there is
				}
				if err != nil {
					t.Errorf("Ingest: %v", err)
					return
				}
				for _, c := range in.Missing() {
					if err := in.Put(b.Frames[c.Digest]); err != nil {
						t.Errorf("Put: %v", err)
					}
				}
				if rnd.IntN(3) > 0 {
					if err := in.Commit(ctx); err != nil {
						t.Errorf("Commit: %v", err)
					}
					// It is not needed by a channel, but it is pinned until Close.
					storetest.CheckBundle(t, s, b)
				}
				if err := in.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		})
	}
	publishers.Wait()
	stop()
	collectors.Wait()
	storetest.CheckBundle(t, s, keep)
	for info := range s.Bundles() {
		if lost, err := s.Lost(t.Context(), info.ID); err != nil || len(lost) > 0 {
			t.Errorf("bundle %s has lost %d chunks: %v", info.ID, len(lost), err)
		}
	}
	if got := stats(t, s); got.Reserved != 0 || got.Damaged != 0 {
		t.Errorf("Stats = %+v: want nothing reserved and nothing damaged", got)
	}
}

// Six times the live set is written, and what is evicted goes in another order than it was written in; the disk must
// not keep it.
func TestStore_DiskShrinks(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GB")
	}
	const live, size = 150 << 20, 2 << 20
	c := &clock{}
	s := open(t, store.Config{Quota: live * 100 / 90, Now: c.Now})
	noise := storetest.Noise(1, live)
	rnd := rand.New(rand.NewPCG(1, 2))
	key := func(i int) store.DerivedKey {
		return store.DerivedKey{Source: digest.Sum([]byte{1}), Kind: fmt.Sprint("k", i)}
	}
	for i := range 6 * live / size {
		head := fmt.Appendf(nil, "object %d", i)
		body := noise[rnd.IntN(live-size):][:size]
		object := io.MultiReader(bytes.NewReader(head), bytes.NewReader(body))
		if _, err := s.PutDerived(t.Context(), key(i), object); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Derived(key(rnd.IntN(i + 1))); err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if _, err := s.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := stats(t, s)
	t.Logf("%d MB live, %d MB evicted, %d MB on disk (%.2f), %d files rewritten", got.Stored>>20, got.EvictedBytes>>20,
		got.Disk>>20, float64(got.Disk)/float64(got.Stored), got.Rewritten)
	if got.Disk > got.Stored*3/2 {
		t.Errorf("%d bytes on disk for %d live ones, want at most half as much again", got.Disk, got.Stored)
	}
	// What was written is evicted or live; how much is live varies with where between the watermarks eviction has ended.
	if got.EvictedBytes+got.Stored < 6*live || got.Stored > got.Quota || got.Stored < live*8/10 {
		t.Errorf("%d bytes evicted, %d live", got.EvictedBytes, got.Stored)
	}
}
