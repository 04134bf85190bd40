package store_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"brink/store"
	"brink/store/storetest"
)

func TestState_SurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	put := func(states map[string][]byte) func(*store.Store) {
		return func(s *store.Store) {
			if err := s.PutState(t.Context(), states); err != nil {
				t.Fatal(err)
			}
		}
	}
	closed(t, dir, put(map[string][]byte{"stats/a": []byte("1"), "stats/b": []byte("2"), "chosen/a": []byte("beta")}))
	closed(t, dir, put(map[string][]byte{"stats/a": []byte("3"), "stats/b": nil}))
	var left *store.Store
	closed(t, dir, func(s *store.Store) {
		storetest.CheckStates(t, s, "", map[string][]byte{"stats/a": []byte("3"), "chosen/a": []byte("beta")})
		left = s
	})
	if err := left.PutState(t.Context(), map[string][]byte{"stats/a": nil}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("PutState of a closed store = %v, want ErrClosed", err)
	}
	if _, err := left.State("stats/a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("State of a closed store = %v, want ErrClosed", err)
	}
	storetest.CheckStates(t, left, "", nil)
}

func TestState_ReadOnlyWhileTheDiskIsFull(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	s := open(t, store.Config{
		MinFree:   64 << 20,
		FreeSpace: func(string) (uint64, error) { return free.Load(), nil },
	})
	first := map[string][]byte{"stats/a": []byte("1")}
	if err := s.PutState(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	free.Store(1 << 20)
	if err := s.PutState(t.Context(), map[string][]byte{"stats/a": []byte("2")}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("PutState = %v, want ErrReadOnly", err)
	}
	if err := s.PutState(t.Context(), map[string][]byte{"stats/a": nil}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("PutState that removes = %v, want ErrReadOnly", err)
	}
	storetest.CheckStates(t, s, "", first)
	free.Store(1 << 40)
	if err := s.PutState(t.Context(), map[string][]byte{"stats/a": nil}); err != nil {
		t.Error(err)
	}
}
