package origin

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"brink/digest"
	"brink/store/storetest"
)

func TestFiller_RemembersThatNoSourceHasIt(t *testing.T) {
	b := storetest.Random(t, 11, 1000)
	synctest.Test(t, func(t *testing.T) {
		source := sourceOf("a")
		f := fill(t, newFakeStore(), nil, source)
		defer f.Close()
		for range 1000 {
			if err := f.Fill(t.Context(), b.ID()); !errors.Is(err, ErrNotFound) {
				t.Fatalf("Fill = %v, want ErrNotFound", err)
			}
		}
		if n := source.asked.Load(); n != 1 {
			t.Errorf("a thousand wanted what nobody has, and the source was asked %d times", n)
		}
		source.give(b)
		time.Sleep(DefaultRemember) //nolint:forbidigo // of a bubble
		if err := f.Fill(t.Context(), b.ID()); err != nil {
			t.Errorf("later, when it is there: %v", err)
		}
		other := storetest.Random(t, 12, 1000)
		if err := f.Fill(t.Context(), other.ID()); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		source.give(other)
		f.Forget(other.ID())
		if err := f.Fill(t.Context(), other.ID()); err != nil {
			t.Errorf("after Forget: %v", err)
		}
	})
}

// A node that starts knows nobody at first, and its devices need not wait until that is forgotten.
func TestFiller_UsesNewSources(t *testing.T) {
	b := storetest.Random(t, 14, 1000)
	var sources []Source
	f, err := New(Config{Store: newFakeStore(), Sources: func(digest.Digest) []Source { return sources }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Fill(t.Context(), b.ID()); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Fill = %v with nobody to ask, want ErrNotFound", err)
	}
	sources = append(sources, sourceOf("a", b))
	if err := f.Fill(t.Context(), b.ID()); err != nil {
		t.Errorf("Fill = %v when somebody has come", err)
	}
}

func TestFiller_RemembersNoMoreFailuresThanItsBound(t *testing.T) {
	f := fill(t, newFakeStore(), nil, sourceOf("empty"))
	for i := range maxFailures + 100 {
		if err := f.Fill(t.Context(), idOf(i)); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failed) > maxFailures {
		t.Errorf("%d failures are remembered", len(f.failed))
	}
}
