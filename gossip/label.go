package gossip

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/zeebo/blake3"
)

// labelSize is the length of a label in bytes. It is that of memberlist's own label, which it replaces, because
// memberlist counts the label when it fills packets.
const labelSize = 16

// labelHead precedes a label: memberlist's type of message, and the length.
const labelHead = "\xf4\x10"

// labels are the labels at the start of a fleet's packets and streams. A label is derived from the fleet's name and one
// key. A node sends the label of the key that it encrypts with, and accepts those of all keys that it can decrypt with,
// so at each step of a rotation every node accepts what any other sends. A label excludes those who have seen no packet
// of the fleet. It does not prove possession of the key: an eavesdropper can replay it.
type labels struct {
	fleet string
	own   string // memberlist's label, from the fleet's name alone; memberlist authenticates it with each ciphertext
	valid atomic.Pointer[[][labelSize]byte]
}

func newLabels(fleet string, keys [][]byte) *labels {
	var sum [labelSize]byte
	blake3.DeriveKey("brink gossip fleet v1", []byte(fleet), sum[:])
	l := &labels{fleet: fleet, own: string(sum[:])}
	l.setKeys(keys)
	return l
}

// setKeys makes l send the label of the first key, and accept those of all keys.
func (l *labels) setKeys(keys [][]byte) {
	valid := make([][labelSize]byte, len(keys))
	for i, key := range keys {
		blake3.DeriveKey("brink gossip label v1", append(slices.Clip(key), l.fleet...), valid[i][:])
	}
	l.valid.Store(&valid)
}

// write replaces memberlist's label at the start of b.
func (l *labels) write(b []byte) error {
	if len(b) < len(labelHead)+labelSize || string(b[:2]) != labelHead || string(b[2:2+labelSize]) != l.own {
		return errors.New("message of memberlist has no label")
	}
	copy(b[2:], (*l.valid.Load())[0][:])
	return nil
}

// strip checks the label at the start of b and returns what follows it.
func (l *labels) strip(b []byte) ([]byte, error) {
	if len(b) < len(labelHead)+labelSize || string(b[:2]) != labelHead {
		return nil, errLabel
	}
	label, rest := [labelSize]byte(b[2:2+labelSize]), b[2+labelSize:]
	if !slices.Contains(*l.valid.Load(), label) {
		return nil, errLabel
	}
	return rest, nil
}
