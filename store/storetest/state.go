package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"brink/store"
)

func states(t *testing.T, s *store.Store) {
	put := func(states map[string][]byte) {
		t.Helper()
		if err := s.PutState(t.Context(), states); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.State("stats/a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("State before = %v, want ErrNotFound", err)
	}
	value := []byte("1")
	put(map[string][]byte{"stats/a": value, "stats/b": {}, "stats/b/c": []byte("3"), "chosen/a": []byte("beta")})
	value[0] = 'x'
	put(map[string][]byte{"stats/b": []byte("2"), "chosen/a": nil, "chosen/gone": nil})
	put(nil)
	want := map[string][]byte{"stats/a": []byte("1"), "stats/b": []byte("2"), "stats/b/c": []byte("3")}
	CheckStates(t, s, "", want)
	CheckStates(t, s, "stats/", want)
	CheckStates(t, s, "chosen/", nil)
	delete(want, "stats/a")
	CheckStates(t, s, "stats/b", want)

	// The body of the loop may call the store, and leave it.
	seen := 0
	for key := range s.States("stats/") {
		seen++
		put(map[string][]byte{key: nil, "stats/b": nil})
	}
	if seen != 2 {
		t.Errorf("States yields %d states where one of three is removed meanwhile", seen)
	}
	put(map[string][]byte{"a/1": {}, "a/2": {}})
	for key := range s.States("a/") {
		if key != "a/1" {
			t.Errorf("States begins with %s", key)
		}
		break
	}
}

// CheckStates fails the test unless want are the states whose keys start with prefix.
func CheckStates(t testing.TB, s *store.Store, prefix string, want map[string][]byte) {
	t.Helper()
	got := map[string][]byte{}
	var keys []string
	for key, value := range s.States(prefix) {
		keys = append(keys, key)
		got[key] = value
	}
	if !slices.IsSorted(keys) || !maps.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("States(%q) = %q in the order %q, want %q", prefix, got, keys, want)
	}
	for key, value := range want {
		if again, err := s.State(key); err != nil || !bytes.Equal(again, value) {
			t.Fatalf("State(%q) = %q, %v, want %q", key, again, err, value)
		}
	}
}

func stateBounds(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for _, key := range []string{"", "a", "/a", "a/", "A/b", "a1/b", "ä/b", " /b"} {
		if err := s.PutState(ctx, map[string][]byte{key: {}}); err == nil {
			t.Errorf("PutState takes the key %q", key)
		}
	}
	large := map[string][]byte{}
	for i := range store.MaxStatesBytes/store.MaxState + 1 {
		large[fmt.Sprintf("large/%d", i)] = make([]byte, store.MaxState)
	}
	many := map[string][]byte{}
	for i := range store.MaxStates + 1 {
		many[fmt.Sprintf("many/%d", i)] = nil
	}
	for name, states := range map[string]map[string][]byte{
		"a value too large":   {"good/a": {}, "a/b": make([]byte, store.MaxState+1)},
		"a key too long":      {"good/a": {}, "a/" + strings.Repeat("b", store.MaxStateKey-1): {}},
		"too many":            many,
		"too much altogether": large,
	} {
		if err := s.PutState(ctx, states); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
	if err := s.PutState(ctx, map[string][]byte{"good/a": {}, "bad": {}}); err == nil {
		t.Error("PutState takes a bad key beside a good one")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.PutState(ended, map[string][]byte{"good/a": {}}); !errors.Is(err, context.Canceled) {
		t.Errorf("PutState on a context that has ended = %v", err)
	}
	CheckStates(t, s, "", nil)

	// All that the bounds allow goes into one transaction.
	delete(many, "many/0")
	for key := range many {
		many[key] = []byte("x")
	}
	full, left := map[string][]byte{}, store.MaxStatesBytes
	for i := 0; left > 1000; i++ {
		key := fmt.Sprintf("large/%0*d", 490, i)
		full[key] = Noise(uint64(i), min(store.MaxState, left-1000))
		left -= len(full[key]) + 600
	}
	for _, states := range []map[string][]byte{many, full, {"a/" + strings.Repeat("b", store.MaxStateKey-2): {}}} {
		if err := s.PutState(ctx, states); err != nil {
			t.Fatalf("%d states: %v", len(states), err)
		}
		CheckStates(t, s, "", states)
		for key := range states {
			states[key] = nil
		}
		if err := s.PutState(ctx, states); err != nil {
			t.Fatal(err)
		}
	}
	CheckStates(t, s, "", nil)
}
