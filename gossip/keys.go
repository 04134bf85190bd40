package gossip

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// KeySize is the length of a key, in bytes: AES-256.
const KeySize = 32

// maxKeys bounds a key file. A rotation needs two; every further one is tried on each packet of a stranger.
const maxKeys = 8

// ErrRotation is returned when keys cannot replace the present ones without nodes losing each other.
var ErrRotation = errors.New("keys cannot be changed in one step")

// NewKey returns a new random key as one line of a key file, without the end of the line.
func NewKey() string {
	var key [KeySize]byte
	_, _ = rand.Read(key[:]) // it never fails
	return base64.StdEncoding.EncodeToString(key[:])
}

// ReadKeys reads a key file: one key on each line, in base64 (RFC 4648, section 4) and 32 bytes long. The first one is
// the primary, which encrypts; the others only decrypt. Empty lines and lines that begin with # are left out. A file
// has 1 to 8 keys, all different.
func ReadKeys(file []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range strings.Lines(string(file)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(key) != KeySize {
			// The line may be a key with a slip in it, so it is not told.
			return nil, fmt.Errorf("line %d of the key file: want %d bytes in base64", number, KeySize)
		}
		keys = append(keys, key)
	}
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	return keys, nil
}

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("%d keys are given, want 1 to %d", len(keys), maxKeys)
	}
	for i, key := range keys {
		if len(key) != KeySize {
			return fmt.Errorf("key %d has %d bytes, want %d", i+1, len(key), KeySize)
		}
		if hasKey(keys[:i], key) {
			return fmt.Errorf("key %d is given twice", i+1)
		}
	}
	return nil
}

func hasKey(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}

// Rekey replaces the keys; the first one is the primary from then on. All nodes must be at the same step before any of
// them takes the next one, and Rekey refuses with [ErrRotation] what would be two steps:
//
//  1. add: the new key comes behind the present primary. All nodes can read what it encrypts, none uses it.
//  2. use: the new key comes first, the former primary stays behind it.
//  3. remove: the former primary is left out.
//
// So the primary must have been among the keys before, and the former primary must still be among the new ones. On
// error nothing has changed.
func (g *Gossip) Rekey(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	g.rekeying.Lock()
	defer g.rekeying.Unlock()
	present := g.keyring.GetKeys()
	switch {
	case !hasKey(present, keys[0]):
		return fmt.Errorf("%w: others may not know the new primary yet: add it behind the present one first", ErrRotation)
	case !hasKey(keys, present[0]):
		return fmt.Errorf("%w: others may still use the former primary: keep it behind the new one first", ErrRotation)
	}
	// Whatever the others send meanwhile is taken; what is sent is what all of them take.
	g.labels.replace(append(slices.Clone(present), keys...))
	if err := replaceKeys(g.keyring, keys); err != nil {
		return err
	}
	g.labels.replace(keys)
	return nil
}

// replaceKeys turns what ring has into keys. Memberlist reads a ring's keys without its lock, and RemoveKey moves those
// behind the one that it removes in place; so they are brought into an order first in which only the last are removed.
// The keys that are the primary for a moment meanwhile are known to whoever knows the former or the new ones.
func replaceKeys(ring *memberlist.Keyring, keys [][]byte) error {
	present := ring.GetKeys()
	for _, key := range slices.Backward(keys) {
		if hasKey(present, key) {
			if err := ring.UseKey(key); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.Backward(ring.GetKeys()) {
		if !hasKey(keys, key) {
			if err := ring.RemoveKey(key); err != nil {
				return err
			}
		}
	}
	for _, key := range keys {
		if err := ring.AddKey(slices.Clone(key)); err != nil { // which leaves alone what it has
			return err
		}
	}
	return nil
}
