package origin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/store/storetest"
)

// noted notes in which order bundles are asked for.
type noted struct {
	Source

	mu    sync.Mutex
	order []digest.Digest
}

func (s *noted) Chunks(
	ctx context.Context, ix *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error,
) error {
	s.mu.Lock()
	s.order = append(s.order, ix.Bundle())
	s.mu.Unlock()
	return s.Source.Chunks(ctx, ix, want, put)
}

func TestFiller_AheadFillsTheNewestFirst(t *testing.T) {
	var bundles []*storetest.Bundle
	for i := range 5 {
		bundles = append(bundles, storetest.Random(t, uint64(200+i), 1000))
	}
	id := func(i int) digest.Digest { return bundles[i].ID() }
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		source := sourceOf("a", bundles...)
		source.fetch = func(context.Context) error { <-gate; return nil }
		order := &noted{Source: source}
		f := fill(t, newFakeStore(), nil, order)
		defer f.Close()
		f.Ahead(id(0))
		synctest.Wait() // it is being filled
		f.Ahead(id(1), id(2))
		f.Ahead(id(3))
		f.Ahead(id(4), id(1))
		if p := f.Progress(); p.Missing != 5 {
			t.Errorf("progress: %+v, want 5 missing", p)
		}
		close(gate)
		synctest.Wait()
		if want := []digest.Digest{id(0), id(4), id(1), id(3), id(2)}; !slices.Equal(order.order, want) {
			t.Errorf("the order is %v, want %v", order.order, want)
		}
		p := f.Progress()
		if p.Missing != 0 || p.Filled != 5 || p.Failed != 0 || p.Bytes < 1000 {
			t.Errorf("at the end: %+v", p)
		}
	})
}

func TestFiller_AheadStartsAtARandomTime(t *testing.T) {
	b := storetest.Random(t, 210, 1000)
	starts := map[time.Duration]bool{}
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			source := sourceOf("a", b)
			var after time.Duration
			source.fetch = func(context.Context) error { after = time.Since(start); return nil }
			f := fill(t, newFakeStore(), func(c *Config) { c.Jitter = 0 }, source)
			defer f.Close()
			f.Ahead(b.ID())
			time.Sleep(DefaultJitter) //nolint:forbidigo // of a bubble
			synctest.Wait()
			if f.Progress().Filled != 1 || after >= DefaultJitter {
				t.Errorf("it began after %s: %+v", after, f.Progress())
			}
			starts[after] = true
		})
	}
	if len(starts) < 2 {
		t.Errorf("five nodes began at the same time: %v", starts)
	}
}

func TestFiller_AheadIsLimitedUntilACallWaits(t *testing.T) {
	const size, rate = 4 << 20, 1 << 20
	first, second := storetest.Random(t, 220, size), storetest.Random(t, 221, size)
	synctest.Test(t, func(t *testing.T) {
		f := fill(t, newFakeStore(), func(c *Config) { c.Rate = rate }, sourceOf("a", first, second))
		defer f.Close()
		start := time.Now()
		f.Ahead(first.ID())
		time.Sleep(2 * time.Second) //nolint:forbidigo // of a bubble
		// A second's worth may come at once.
		if p := f.Progress(); p.Bytes > 3*rate || p.Filled != 0 {
			t.Errorf("after two seconds at %d bytes a second: %+v", rate, p)
		}
		if err := f.Fill(t.Context(), second.ID()); err != nil || time.Since(start) > 2*time.Second {
			t.Errorf("somebody waited %s for another bundle: %v", time.Since(start)-2*time.Second, err)
		}
		if err := f.Fill(t.Context(), first.ID()); err != nil || time.Since(start) > 2*time.Second {
			t.Errorf("somebody waited %s for the bundle that was being filled ahead: %v", time.Since(start)-2*time.Second, err)
		}
	})
}

func TestFiller_AheadTriesAgain(t *testing.T) {
	b := storetest.Random(t, 230, 1000)
	synctest.Test(t, func(t *testing.T) {
		source := sourceOf("a")
		f := fill(t, newFakeStore(), nil, source)
		defer f.Close()
		f.Ahead(b.ID())
		time.Sleep(10 * time.Second) //nolint:forbidigo // of a bubble
		if p := f.Progress(); p.Missing != 1 || source.asked.Load() < 2 || source.asked.Load() > 6 {
			t.Errorf("after ten seconds in which nobody has it: %+v, asked %d times", p, source.asked.Load())
		}
		source.give(b)
		time.Sleep(time.Minute) //nolint:forbidigo // of a bubble
		if p := f.Progress(); p.Missing != 0 || p.Filled != 1 {
			t.Errorf("after it came up: %+v", p)
		}
		f.Ahead(idOf(1))
		time.Sleep(time.Hour) //nolint:forbidigo // of a bubble
		if p := f.Progress(); p.Missing != 0 || p.Failed != 1 {
			t.Errorf("of what nobody ever has: %+v", p)
		}
	})
}

func TestFiller_AheadDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := sourceOf("a")
		source.fetch = hang
		f := fill(t, newFakeStore(), nil, source)
		f.Ahead(idOf(0))
		synctest.Wait()
		for i := range maxAhead + 10 {
			f.Ahead(idOf(i + 1))
		}
		if p := f.Progress(); p.Missing != maxAhead+1 {
			t.Errorf("%d wait, want %d", p.Missing, maxAhead+1)
		}
		f.ahead.mu.Lock()
		oldest, newest := f.ahead.queue[0].id, f.ahead.queue[maxAhead-1].id
		f.ahead.mu.Unlock()
		if oldest != idOf(11) || newest != idOf(maxAhead+10) {
			t.Error("not the oldest were dropped")
		}
		if err := f.Close(); err != nil || !errors.Is(f.Fill(t.Context(), idOf(1)), ErrClosed) {
			t.Error(err)
		}
	})
}

func TestFiller_FillAheadWaitsForItsTurn(t *testing.T) {
	there, nowhere := storetest.Random(t, 300, 1000), storetest.Random(t, 301, 1000)
	synctest.Test(t, func(t *testing.T) {
		f := fill(t, newFakeStore(), nil, sourceOf("a", there))
		defer f.Close()
		if err := f.FillAhead(t.Context(), there.ID()); err != nil {
			t.Error(err)
		}
		// Given up after all tries; the clock is the bubble's.
		if err := f.FillAhead(t.Context(), nowhere.ID()); !errors.Is(err, ErrNotFound) {
			t.Errorf("what nobody has: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.FillAhead(ctx, nowhere.ID()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits no longer gets %v", err)
		}
		if len(f.ahead.waiters) != 0 {
			t.Errorf("%d wait still", len(f.ahead.waiters))
		}
	})
}
