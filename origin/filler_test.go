package origin

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/store"
	"brink/store/storetest"
)

func TestFiller_ManyWaitAndOneFetches(t *testing.T) {
	b := storetest.Random(t, 1, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		source := sourceOf("a", b)
		gate := make(chan struct{})
		source.fetch = func(context.Context) error { <-gate; return nil }
		f := fill(t, newFakeStore(), nil, source)
		defer f.Close()
		const callers = 1000
		errs := make(chan error, callers)
		for range callers {
			go func() { errs <- f.Fill(t.Context(), b.ID()) }()
		}
		synctest.Wait()
		if s := f.Stats(); s.Fills != 1 || s.Joined != callers-1 || len(errs) != 0 {
			t.Errorf("while all wait: %+v, and %d have an answer", s, len(errs))
		}
		close(gate)
		for range callers {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if asked, fetched := source.asked.Load(), source.fetched.Load(); asked != 1 || fetched != 1 {
			t.Errorf("the source was asked for the index %d times and for chunks %d times, want once each", asked, fetched)
		}
	})
}

func TestFiller_FillsARealStore(t *testing.T) {
	s, err := store.Open(store.Config{Dir: t.TempDir(), Quota: 256 << 20, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := storetest.Random(t, 1, 3<<20)
	source := sourceOf("a", b)
	f := fill(t, Into(s), nil, source)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if err := f.Fill(t.Context(), b.ID()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked, fetched := source.asked.Load(), source.fetched.Load(); asked != 1 || fetched != 1 {
		t.Errorf("the source was asked for the index %d times and for chunks %d times, want once each", asked, fetched)
	}
	if lost, err := s.Lost(t.Context(), b.ID()); err != nil || len(lost) > 0 {
		t.Errorf("after Fill the store lacks %d chunks: %v", len(lost), err)
	}
	if intent, err := s.Intent(b.ID()); err != nil || string(intent) != "intent" {
		t.Errorf("the intent is %q, %v", intent, err)
	}
	if err := f.Fill(t.Context(), idOf(1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a bundle that nobody has: %v", err)
	}
}

func TestFiller_CancelledCallStopsNoOther(t *testing.T) {
	b := storetest.Random(t, 2, 1000)
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		source := sourceOf("a", b)
		source.fetch = func(context.Context) error { <-gate; return nil }
		f := fill(t, newFakeStore(), nil, source)
		defer f.Close()
		impatient, cancel := context.WithCancelCause(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- f.Fill(impatient, b.ID()) }()
		synctest.Wait() // the first began the work
		go func() { second <- f.Fill(t.Context(), b.ID()) }()
		synctest.Wait()
		enough := errors.New("enough")
		cancel(enough)
		if err := <-first; !errors.Is(err, enough) {
			t.Errorf("who gives up gets %v", err)
		}
		close(gate)
		if err := <-second; err != nil {
			t.Errorf("who goes on waiting gets %v", err)
		}
	})
}

func TestFiller_FetchesOnlyTheRestAfterAStall(t *testing.T) {
	b := storetest.Random(t, 3, 3<<20)
	synctest.Test(t, func(t *testing.T) {
		slow, good := sourceOf("slow", b), sourceOf("good", b)
		slow.chunk = func(ctx context.Context, n int, _ *bundle.Frame) error {
			if n < 5 {
				return nil
			}
			return hang(ctx)
		}
		s := newFakeStore()
		f := fill(t, s, nil, slow, good)
		defer f.Close()
		if err := f.Fill(t.Context(), b.ID()); err != nil {
			t.Fatal(err)
		}
		if want := len(b.Frames) - 5; good.chunksWanted() != want {
			t.Errorf("the second source was asked for %d chunks, want the %d that the first had not sent", good.chunksWanted(), want)
		}
		if good.asked.Load() != 0 {
			t.Error("the second source was asked for the index, which was there")
		}
		if got := f.Stats().Sources["slow"]; got.Stalls != 1 || got.Chunks != 5 || got.Faults != 0 {
			t.Errorf("of the slow one is remembered %+v", got)
		}
		if s.open != 0 {
			t.Errorf("%d ingests are open", s.open)
		}
		// One that failed is asked last for a while, and then first again.
		other := storetest.Random(t, 4, 1000)
		slow.give(other)
		good.give(other)
		if err := f.Fill(t.Context(), other.ID()); err != nil || slow.asked.Load() != 1 {
			t.Errorf("right after it stalled, the slow one was asked first: %v", err)
		}
	})
}

func TestFiller_SlowStoreIsNotAStall(t *testing.T) {
	b := storetest.Random(t, 5, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.lose = func(digest.Digest) bool { time.Sleep(time.Minute); return false } //nolint:forbidigo // of a bubble
		source := sourceOf("a", b)
		source.chunk = func(ctx context.Context, _ int, _ *bundle.Frame) error { return ctx.Err() }
		f := fill(t, s, nil, source)
		defer f.Close()
		if err := f.Fill(t.Context(), b.ID()); err != nil || f.Stats().Sources["a"].Stalls != 0 {
			t.Errorf("Fill = %v, and the source has %+v", err, f.Stats().Sources["a"])
		}
	})
}

// lying returns an index that claims to be of the same bundle, and is not.
func lying(ix *bundle.Index) *bundle.Index {
	wrong := *ix
	wrong.Files = append([]bundle.File{}, ix.Files...)
	last := &wrong.Files[len(wrong.Files)-1]
	last.Path = last.Path[:len(last.Path)-1] + "~" // of the same length, so that sizes still add up
	return &wrong
}

func TestFiller_LeavesASourceThatLies(t *testing.T) {
	b, other := storetest.Random(t, 6, 1<<20), storetest.Random(t, 7, 1000)
	for name, spoil := range map[string]func(*fakeSource){
		"a flipped byte":             func(s *fakeSource) { s.chunk = flip },
		"the index of another":       func(s *fakeSource) { s.index = func(*bundle.Index) *bundle.Index { return other.Index } },
		"no index":                   func(s *fakeSource) { s.index = func(*bundle.Index) *bundle.Index { return nil } },
		"an index that is not right": func(s *fakeSource) { s.index = lying },
		"more than it was asked for": func(s *fakeSource) { s.extra = 1 },
		"a chunk of another": func(s *fakeSource) {
			s.chunk = func(_ context.Context, _ int, f *bundle.Frame) error {
				for _, *f = range other.Frames {
					break
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := sourceOf("bad", b), sourceOf("good", b)
			spoil(bad)
			s := newFakeStore()
			f := fill(t, s, nil, bad, good)
			if err := f.Fill(t.Context(), b.ID()); err != nil {
				t.Fatal(err)
			}
			if got := f.Stats().Sources; got["bad"].Faults != 1 || got["good"].Faults != 0 {
				t.Errorf("faults are counted wrong: %+v", got)
			}
			if s.open != 0 {
				t.Errorf("%d ingests are open", s.open)
			}
			alone := fill(t, newFakeStore(), func(c *Config) { c.Rounds = 1 }, bad)
			if err := alone.Fill(t.Context(), b.ID()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrFault) {
				t.Errorf("from a liar alone: %v", err)
			}
		})
	}
}

// The one who gave the wrong index is to blame, and not the one who gave right chunks by it.
func TestFiller_BlamesTheSourceOfTheIndex(t *testing.T) {
	b := storetest.Random(t, 8, 1<<20)
	bad, good := sourceOf("bad", b), sourceOf("good", b)
	bad.index = lying
	bad.chunk = func(context.Context, int, *bundle.Frame) error { return errors.New("gone") }
	f := fill(t, newFakeStore(), nil, bad, good)
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if got := f.Stats().Sources; got["bad"].Faults != 1 || got["bad"].Errors != 1 || got["good"].Faults != 0 {
		t.Errorf("faults are counted wrong: %+v", got)
	}
}

func TestFiller_FetchesFromEachSourceWhatItHas(t *testing.T) {
	b := storetest.Random(t, 10, 2<<20)
	left, right := sourceOf("left", b), sourceOf("right", b)
	half := func(odd bool) func(context.Context, int, *bundle.Frame) error {
		return func(_ context.Context, _ int, f *bundle.Frame) error {
			if (f.Digest[0]%2 == 1) != odd {
				return errSkip
			}
			return nil
		}
	}
	left.chunk, right.chunk = half(true), half(false)
	f := fill(t, newFakeStore(), nil, left, right)
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	got := f.Stats().Sources
	if got["left"].Chunks == 0 || got["right"].Chunks == 0 || got["left"].Chunks+got["right"].Chunks != int64(len(b.Frames)) {
		t.Errorf("of %d chunks came %+v", len(b.Frames), got)
	}
}

func TestFiller_RetriesSourcesThatWereDown(t *testing.T) {
	b := storetest.Random(t, 13, 1000)
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("connection refused")
		source := sourceOf("a", b)
		source.fetch = func(context.Context) error {
			if source.asked.Load() < 3 {
				return down
			}
			return nil
		}
		f := fill(t, newFakeStore(), nil, source, sourceOf("empty"))
		defer f.Close()
		start := time.Now()
		if err := f.Fill(t.Context(), b.ID()); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) < DefaultPause/2+DefaultPause {
			t.Error("it was asked again without a pause")
		}
		source.fetch = func(context.Context) error { return down }
		source.asked.Store(0)
		err := f.Fill(t.Context(), idOf(1))
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, down) || source.asked.Load() != DefaultRounds {
			t.Errorf("from what stays down: %v after %d tries", err, source.asked.Load())
		}
	})
}

func TestFiller_HealsWhatWasLost(t *testing.T) {
	b := storetest.Random(t, 14, 2<<20)
	s, source := newFakeStore(), sourceOf("a", b)
	f := fill(t, s, nil, source)
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	lost := s.missing(b.Index)
	for c := range b.Index.Chunks() {
		if len(lost) < 3 {
			lost = append(lost, c)
			delete(s.chunks, c.Digest)
		}
	}
	source.wanted = nil
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if source.asked.Load() != 1 || source.chunksWanted() != len(lost) {
		t.Errorf("to heal %d chunks, %d were asked for, and the index %d times", len(lost), source.chunksWanted(), source.asked.Load())
	}
	// A disk that loses everything at once must not be written to for ever.
	delete(s.chunks, lost[0].Digest)
	s.lose = func(digest.Digest) bool { return true }
	if err := f.Fill(t.Context(), b.ID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("to a store that loses what is put in: %v", err)
	}
}

func TestFiller_StoreFailureBlamesNoSource(t *testing.T) {
	b := storetest.Random(t, 15, 1000)
	s, source := newFakeStore(), sourceOf("a", b)
	s.room = store.ErrQuota
	f := fill(t, s, nil, source)
	if err := f.Fill(t.Context(), b.ID()); !errors.Is(err, store.ErrQuota) || errors.Is(err, ErrUnavailable) {
		t.Errorf("Fill = %v, want what the store says", err)
	}
	if got := f.Stats(); got.Sources["a"] != (SourceStats{}) || source.asked.Load() != 1 {
		t.Errorf("the source is blamed: %+v, asked %d times", got.Sources, source.asked.Load())
	}
}

func TestFiller_BoundsWhatRunsAtOnce(t *testing.T) {
	var bundles []*storetest.Bundle
	for i := range 12 {
		bundles = append(bundles, storetest.Random(t, uint64(100+i), 1<<20))
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var running, most int
		var flying, mostBytes int64
		source := sourceOf("a", bundles...)
		source.fetch = func(context.Context) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second) //nolint:forbidigo // of a bubble
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		counted := countedSource{source, func(n int64) {
			mu.Lock()
			defer mu.Unlock()
			flying += n
			mostBytes = max(mostBytes, flying)
		}}
		const limit = 1 << 20
		f := fill(t, newFakeStore(), func(c *Config) { c.Slots, c.Bytes, c.Queue = 3, limit, 9 }, counted)
		defer f.Close()
		errs := make(chan error, len(bundles))
		for _, b := range bundles {
			go func() { errs <- f.Fill(t.Context(), b.ID()) }()
		}
		synctest.Wait()
		if err := f.Fill(t.Context(), idOf(1)); !errors.Is(err, ErrBusy) {
			t.Errorf("one more than may wait: %v, want ErrBusy", err)
		}
		for range bundles {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if most != 3 {
			t.Errorf("%d ran at once, want 3", most)
		}
		if mostBytes > limit || mostBytes < limit/2 {
			t.Errorf("%d bytes were asked for at once, want at most %d", mostBytes, limit)
		}
	})
}

// countedSource tells how many bytes are asked for and not done yet.
type countedSource struct {
	Source

	add func(n int64)
}

func (s countedSource) Chunks(
	ctx context.Context, ix *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error,
) error {
	var size int64
	for _, c := range want {
		size += c.Size
	}
	s.add(size)
	defer s.add(-size)
	return s.Source.Chunks(ctx, ix, want, put)
}

func TestFiller_CloseWakesAllAndWaits(t *testing.T) {
	b := storetest.Random(t, 16, 1000)
	synctest.Test(t, func(t *testing.T) {
		source := sourceOf("a", b)
		var ended atomic.Int32
		source.fetch = func(ctx context.Context) error {
			err := hang(ctx)
			time.Sleep(time.Second) //nolint:forbidigo // of a bubble
			ended.Add(1)
			return err
		}
		f := fill(t, newFakeStore(), nil, source)
		errs := make(chan error, 3)
		for range 3 {
			go func() { errs <- f.Fill(t.Context(), b.ID()) }()
		}
		f.Ahead(idOf(1), idOf(2))
		synctest.Wait()
		f.Close()
		if ended.Load() != 2 { // the fill, and the one ahead
			t.Error("Close returned before the work ended")
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("who waits gets %v, want ErrClosed", err)
			}
		}
		if err := f.Fill(t.Context(), b.ID()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		f.Close()
	})
}

func TestFiller_PassesHopsOn(t *testing.T) {
	b := storetest.Random(t, 17, 1000)
	source := sourceOf("a", b)
	source.fetch = func(ctx context.Context) error {
		if Hops(ctx) != 1 {
			t.Errorf("the source is asked with %d hops, want 1", Hops(ctx))
		}
		return nil
	}
	f := fill(t, newFakeStore(), nil, source)
	if err := f.Fill(WithHops(t.Context(), 1), b.ID()); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]int{"": 0, "0": 0, "1": 1, "9": 9, "-1": MaxHops, "10": MaxHops, "x": MaxHops} {
		if got := ParseHops(value); got != want {
			t.Errorf("ParseHops(%q) = %d, want %d", value, got, want)
		}
	}
}

func TestConfig_Validate(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a filler without store and sources was made")
	}
	if _, err := New(Config{Store: newFakeStore(), Sources: func(digest.Digest) []Source { return nil }, Rate: -1}); err == nil {
		t.Error("a negative rate was taken")
	}
}
