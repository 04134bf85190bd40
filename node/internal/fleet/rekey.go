package fleet

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"brink/gossip"
	"brink/internal/durable"
	"brink/node/internal/serve"
	"brink/origin/sign"
	"brink/protocol"
)

// The key of a fleet is rotated in the three steps of [gossip.Gossip.Rekey], each on all nodes before the next. One
// node leads: it sends the keys of each step to the others, encrypted under the key that all of them have, and stops at
// the first that fails. All nodes can still communicate then, and the rotation can be started again.

// sealContext is the domain separation of this use of a fleet key (BLAKE3, section 2.3 of its paper).
const sealContext = "brink fleet keys v1"

func sealer(key []byte) (cipher.AEAD, error) {
	var derived [32]byte
	blake3.DeriveKey(sealContext, key, derived[:])
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts a key file under a key.
func seal(key []byte, file []byte) ([]byte, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, file, nil), nil
}

// unseal decrypts a key file that was encrypted under one of the keys.
func unseal(keys [][]byte, box []byte) ([]byte, error) {
	for _, key := range keys {
		aead, err := sealer(key)
		if err != nil {
			return nil, err
		}
		if file, err := aead.Open(nil, nil, box, nil); err == nil {
			return file, nil
		}
	}
	return nil, errors.New("the new keys are encrypted under a key that this node does not have")
}

// keyFile returns keys in the form of a key file.
func keyFile(keys [][]byte) []byte {
	var lines strings.Builder
	lines.WriteString("# Keys of a fleet, the first one in use. Keep it secret.\n")
	for _, key := range keys {
		lines.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	}
	return []byte(lines.String())
}

// keyring is the keys of this node, and the file that they come from.
type keyring struct {
	file string // empty: they are not from a file

	mu   sync.Mutex // serialises changes
	keys [][]byte   // the primary first
}

// checkReplaceable returns an error if the keys of this node cannot be replaced.
func (k *keyring) checkReplaceable() error {
	if k.file == "" {
		return errors.New("the fleet key of this node is not in a file that could be replaced: change it at its source")
	}
	return nil
}

func (k *keyring) current() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys
}

// rekey replaces the keys of this node, in memory and in the key file, or changes neither.
func (f *Fleet) rekey(keys [][]byte) error {
	k := &f.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.checkReplaceable(); err != nil {
		return err
	}
	if err := durable.Replace(k.file, keyFile(keys), 0o600); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if err := f.gossip.Rekey(keys); err != nil {
		return errors.Join(err, durable.Replace(k.file, keyFile(k.keys), 0o600))
	}
	if err := f.ring.Replace(keys...); err != nil {
		return err
	}
	k.keys = keys
	return nil
}

// PostKeys answers POST /v1/fleet/keys, one step of a rotation.
func (f *Fleet) PostKeys(r *serve.Request) error {
	var in protocol.Sealed
	if err := f.readSigned(r, protocol.MaxCheck, &in); err != nil {
		return err
	}
	// This node does not remember which requests it accepted before it was started, so it refuses all of that time.
	if sent, ok := sign.Sent(r.Authorization()); !ok || sent.Before(f.since.Truncate(time.Second)) {
		return serve.Problem(protocol.CodeUnsigned, "the request is from before this node was started",
			"rotate the key again")
	}
	file, err := unseal(f.keys.current(), in.Box)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, err.Error(), "")
	}
	keys, err := gossip.ReadKeys(file)
	if err != nil {
		return serve.Problem(protocol.CodeBadRequest, err.Error(), "")
	}
	if err := f.rekey(keys); err != nil {
		f.Logger.Error("cannot replace fleet keys", "error", err)
		return serve.Problem(protocol.CodeConflict, err.Error(), "see docs/fleet.md on rotating the key")
	}
	f.Logger.Info("fleet keys replaced", "keys", len(keys))
	return r.WriteJSON(http.StatusOK, protocol.Replica{Node: f.Node, Region: f.Region})
}

// Rotate replaces the key of the fleet by a new one, and returns the nodes that have it.
func (f *Fleet) Rotate(ctx context.Context) ([]protocol.Replica, error) {
	if err := f.keys.checkReplaceable(); err != nil {
		return nil, err
	}
	former := f.keys.current()
	fresh := make([]byte, gossip.KeySize)
	_, _ = rand.Read(fresh) // it never fails
	added := append(slices.Clone(former), fresh)
	used := append([][]byte{fresh}, former...)
	var done []protocol.Replica
	for _, step := range []struct {
		name string
		keys [][]byte
	}{{"add", added}, {"use", used}, {"remove", [][]byte{fresh}}} {
		var err error
		if done, err = f.rotateStep(ctx, step.keys); err != nil {
			return done, fmt.Errorf("step %q: %w", step.name, err)
		}
	}
	return done, nil
}

// rotateStep replaces the keys of all nodes. This one is last, so that it can lead another attempt.
func (f *Fleet) rotateStep(ctx context.Context, keys [][]byte) ([]protocol.Replica, error) {
	box, err := seal(f.keys.current()[0], keyFile(keys))
	if err != nil {
		return nil, err
	}
	var done []protocol.Replica
	for _, m := range f.gossip.Members() {
		if m.Name == f.Node {
			continue
		}
		var answer protocol.Replica
		err := f.RequestJSON(ctx, asMember(m), http.MethodPost, protocol.FleetKeysPath, protocol.Sealed{Box: box}, &answer)
		if err != nil {
			return done, err
		}
		done = append(done, protocol.Replica{Node: m.Name, Region: m.Region})
	}
	if err := f.rekey(keys); err != nil {
		return done, err
	}
	return append(done, protocol.Replica{Node: f.Node, Region: f.Region}), nil
}
