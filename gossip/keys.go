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

// maxKeys bounds a key file. A rotation needs two keys, and every key is tried on each packet of a stranger.
const maxKeys = 8

// ErrRotation is returned for keys that cannot replace the present ones without splitting the fleet.
var ErrRotation = errors.New("keys cannot be changed in one step")

// NewKey returns a new random key as one line of a key file, without the newline.
func NewKey() string {
	var key [KeySize]byte
	_, _ = rand.Read(key[:]) // it never fails
	return base64.StdEncoding.EncodeToString(key[:])
}

// ReadKeys parses a key file: one key of 32 bytes on each line, in base64 (RFC 4648, section 4). The first one is the
// primary, which encrypts; the others only decrypt. Empty lines and lines that start with # are ignored. A file has 1
// to 8 keys, all different.
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
			// The line may be a mistyped key, so the error does not quote it.
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

// Rekey replaces the keys; the first one becomes the primary. A rotation has three steps, and all nodes must have done
// a step before any of them does the next. Rekey refuses two steps at once with [ErrRotation]:
//
//  1. add: the new key is added after the present primary. All nodes can decrypt with it, none encrypts with it.
//  2. use: the new key is first, the former primary after it.
//  3. remove: the former primary is removed.
//
// So the new primary must be one of the present keys, and the present primary one of the new keys. On error nothing has
// changed.
func (g *Gossip) Rekey(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	g.rekeying.Lock()
	defer g.rekeying.Unlock()
	present := g.keyring.GetKeys()
	switch {
	case !hasKey(present, keys[0]):
		return fmt.Errorf("%w: others may not have the new primary yet: add it after the present one first", ErrRotation)
	case !hasKey(keys, present[0]):
		return fmt.Errorf("%w: others may still use the present primary: keep it after the new one first", ErrRotation)
	}
	// Meanwhile labels of both are accepted, and the label that is sent is one that all nodes accept.
	g.labels.setKeys(append(slices.Clone(present), keys...))
	if err := replaceKeys(g.keyring, keys); err != nil {
		return err
	}
	g.labels.setKeys(keys)
	return nil
}

// replaceKeys makes keys the content of ring. Memberlist reads a ring's keys without its lock, and RemoveKey moves the
// keys after the removed one in place, so the keys are reordered first such that only the last ones are removed. Each
// key that is the primary meanwhile is known to every node that has the former or the new keys.
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
		if err := ring.AddKey(slices.Clone(key)); err != nil { // does nothing for a key that it has
			return err
		}
	}
	return nil
}
