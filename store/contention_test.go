package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

// Publishing, building, evicting and rewriting at the same time, on a store that is always nearly full: nothing healthy
// is taken for damaged, no publisher is refused for room that could be made, and the disk stays bounded.
func TestStore_WorkAgainstEachOther(t *testing.T) {
	const (
		quota      = 12 << 20
		publishers = 3
		builders   = 3
		publishes  = 16 // of each publisher
		builds     = 24 // of each builder
	)
	s := open(t, store.Config{Quota: quota, ScrubRate: 64 << 20})
	var publishing, rest sync.WaitGroup
	stop := make(chan struct{})
	for p := range publishers {
		publishing.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(p)))
			for i := range publishes {
				b := storetest.Random(t, uint64(p*1000+i), 512<<10+random.IntN(1<<20))
				if err := storetest.Publish(t.Context(), s, b, nil); err != nil {
					t.Errorf("publish %d of publisher %d: %v", i, p, err)
				}
			}
		})
	}
	for p := range builders {
		rest.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(p)))
			for i := range builds {
				key := store.DerivedKey{Source: digest.Sum([]byte{byte(p), byte(i % 20)}), Kind: "zstd"}
				content := storetest.Noise(uint64(1_000_000+p*1000+i), 512<<10+random.IntN(3<<19))
				_, err := s.PutDerived(t.Context(), key, bytes.NewReader(content))
				if err != nil && !errors.Is(err, store.ErrQuota) {
					t.Errorf("build %d of builder %d: %v", i, p, err)
				}
			}
		})
	}
	rest.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.GC(t.Context()); err != nil {
				t.Errorf("GC: %v", err)
				return
			}
		}
	})
	publishing.Wait()
	close(stop)
	rest.Wait()
	if _, err := s.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats := stats(t, s)
	if stats.Damaged > 0 || stats.Poisoned || stats.BadRecords > 0 || len(stats.Quarantine) > 0 {
		t.Errorf("something healthy counts as damaged: %+v", stats)
	}
	if stats.Reserved != 0 || stats.Stored > quota || stats.EvictedBundles == 0 || stats.Rewritten == 0 {
		t.Errorf("%+v: want nothing reserved, at most the quota stored, and bundles evicted and files rewritten", stats)
	}
	if stats.Disk > 2*quota {
		t.Errorf("%d bytes of disk for a quota of %d", stats.Disk, quota)
	}
}
