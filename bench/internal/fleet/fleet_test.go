package fleet

import (
	"testing"

	"brink/bench/internal/testbed"
)

// A node's log says when a channel moved, and what was measured is served.
func TestNodes_LogThatAChannelMoved(t *testing.T) {
	dir := t.TempDir()
	s := &bench{Testbed: testbed.Testbed{Run: &testbed.Run{Dir: dir}, Dir: dir}}
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
		took, err := f.announce(t.Context(), round)
		if err != nil || len(took) != 1 {
			t.Fatalf("round %d: the other node took %v, %v", round, took, err)
		}
	}
}

func TestMemberlists_EachReceivesOnce(t *testing.T) {
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
		took, err := f.announce(t.Context(), round)
		if err != nil || len(took) != 2 {
			t.Fatalf("round %d: the others took %v, %v", round, took, err)
		}
	}
	select {
	case h := <-f.news:
		t.Errorf("node %d received %d again", h.node, h.number)
	default:
	}
}
