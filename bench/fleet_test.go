package main

import (
	"testing"
	"time"
)

// The bench knows from a node's own log when a channel came into force, and what it measured is served.
func TestNodes_TellThatAChannelMoved(t *testing.T) {
	dir := t.TempDir()
	s := &site{bench: &bench{dir: dir}, dir: dir}
	f, err := s.newPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for round := 1; round <= 2; round++ {
		took, err := f.tell(t.Context(), round)
		if err != nil || len(took) != 1 {
			t.Fatalf("round %d: the other node took %v, %v", round, took, err)
		}
	}
}

func TestMemberlists_EachHearsOnce(t *testing.T) {
	f, err := newMemberlists(3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for round := 1; round <= 2; round++ {
		took, err := f.tell(t.Context(), round)
		if err != nil || len(took) != 2 {
			t.Fatalf("round %d: the others took %v, %v", round, took, err)
		}
	}
	select {
	case h := <-f.news:
		t.Errorf("node %d heard %d again", h.node, h.number)
	default:
	}
}

func TestQuantile_IsOneOfTheList(t *testing.T) {
	list := []time.Duration{4, 1, 3, 2}
	for q, want := range map[float64]time.Duration{0.01: 1, 0.5: 2, 0.51: 3, 0.99: 4, 1: 4} {
		if got := quantile(list, q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
}
