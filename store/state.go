package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"brink/digest"
)

// Bounds of states: the bytes of a key and of a value, and the states and bytes that one call of PutState may have.
const (
	MaxStateKey    = 512
	MaxState       = 64 << 10
	MaxStates      = 4096
	MaxStatesBytes = 768 << 10 // a transaction holds some 1.2 MB, keys and all, see database.Records
)

// states are what a node itself has to remember and nobody signs. Its invariant: what one PutState has put is durable
// together or not at all.
type states struct {
	records *records
	quota   *quota
}

// PutState keeps what a node itself has to remember and nobody signs: a value for each key, in place of what was under
// it; a nil value removes it. All of it is durable on return, or none. The values are copied.
//
// A key is a kind, a slash and a name ("stats/com.acme.shop"), of at most [MaxStateKey] bytes; kinds are a-z and -. It
// returns [ErrTooLarge] for more than the bounds allow, and [ErrReadOnly] while the disk has too little room.
func (s *states) PutState(ctx context.Context, states map[string][]byte) error {
	c := change{put: make(map[string][]byte, len(states))}
	total := 0
	for key, value := range states {
		if err := checkStateKey(key); err != nil {
			return fmt.Errorf("put state: %w", err)
		}
		if len(value) > MaxState {
			return fmt.Errorf("put state %s: %w: %d bytes, want at most %d", key, ErrTooLarge, len(value), MaxState)
		}
		total += len(stateKind) + len(key) + digest.Size + len(value)
		if value == nil {
			c.remove = append(c.remove, stateKind+key)
		} else {
			c.put[stateKind+key] = value
		}
	}
	if len(states) > MaxStates || total > MaxStatesBytes {
		return fmt.Errorf("put states: %w: %d of %d bytes in all, want at most %d of %d",
			ErrTooLarge, len(states), total, MaxStates, MaxStatesBytes)
	}
	if len(states) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.records.changing.Lock()
	defer s.records.changing.Unlock()
	if !s.quota.roomForUpkeep() {
		return fmt.Errorf("put state: %w: %s", ErrReadOnly, s.quota.readOnly())
	}
	if err := s.records.acknowledge(c); err != nil {
		return fmt.Errorf("put state: %w", err)
	}
	return nil
}

// State returns what PutState kept under key, [ErrNotFound], or [ErrDamaged]. The caller owns the bytes.
func (s *states) State(key string) ([]byte, error) {
	value, err := s.records.get(stateKind + key)
	if errors.Is(err, ErrDamaged) {
		s.records.unreadable(stateKind+key, err)
	}
	return value, err
}

// States yields the states whose keys begin with prefix, in the order of keys. One that is damaged is passed over,
// logged, and counted in [Stats]; the next PutState of its key mends it. The body of the loop owns the values and may
// call the store. A store that is closed yields nothing more.
func (s *states) States(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		err := s.records.all(stateKind+prefix, func(rest string, value []byte, err error) bool {
			switch {
			case err == nil:
				return yield(prefix+rest, value)
			case !errors.Is(err, ErrNotFound): // which one is that was removed meanwhile
				s.records.unreadable(stateKind+prefix+rest, err)
			}
			return true
		})
		if err != nil && !errors.Is(err, ErrClosed) {
			s.records.unreadable(stateKind+prefix, err)
		}
	}
}

func checkStateKey(key string) error {
	if len(key) > MaxStateKey {
		return fmt.Errorf("key: %w: %d bytes, want at most %d", ErrTooLarge, len(key), MaxStateKey)
	}
	kind, name, found := strings.Cut(key, "/")
	if !found || kind == "" || name == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("key %q: want a kind of a-z and -, a slash and a name", key)
	}
	return nil
}
