package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"brink/digest"
)

// Limits of states: the bytes of a key and of a value, and the number of states and of bytes in one call of PutState.
const (
	MaxStateKey    = 512
	MaxState       = 64 << 10
	MaxStates      = 4096
	MaxStatesBytes = 768 << 10 // a transaction can hold about 1.2 MB including keys, see database.Records
)

// states are unsigned records of the node itself. The invariant: the states of one PutState are durable together or not
// at all.
type states struct {
	records *records
	quota   *quota
}

// PutState stores unsigned records of the node itself: it sets the value of each key, and a nil value removes the key.
// The call is atomic, and durable on return. The values are copied.
//
// A key is a kind, a slash and a name ("stats/com.acme.shop"), of at most [MaxStateKey] bytes; kinds consist of a-z
// and -. It returns [ErrTooLarge] if a limit is exceeded, and [ErrReadOnly] while the disk has too little free space.
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

// State returns the value that PutState stored under key, [ErrNotFound], or [ErrDamaged]. The caller owns the bytes.
func (s *states) State(key string) ([]byte, error) {
	value, err := s.records.get(stateKind + key)
	if errors.Is(err, ErrDamaged) {
		s.records.unreadable(stateKind+key, err)
	}
	return value, err
}

// States yields the states whose keys start with prefix, in the order of keys. A damaged one is skipped, logged, and
// counted in [Stats]; the next PutState of its key repairs it. The body of the loop owns the values and may call the
// store. After Close nothing more is yielded.
func (s *states) States(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		err := s.records.all(stateKind+prefix, func(rest string, value []byte, err error) bool {
			switch {
			case err == nil:
				return yield(prefix+rest, value)
			case !errors.Is(err, ErrNotFound): // it was not removed in the meantime
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
