package gossip

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/zeebo/blake3"
)

// labelSize is the length of a label in bytes. It is that of memberlist's own, whose place it takes, because memberlist
// counts it when it fills packets.
const labelSize = 16

// labelHead begins whatever has a label: the type of message of memberlist's, and the length.
const labelHead = "\xf4\x10"

// labels are what packets and streams of a fleet begin with. A label is derived from the fleet's name and one key. A
// node sends that of the key that it encrypts with, and takes those of all keys that it can decrypt with; so a rotation
// changes labels as it changes keys, and at each step every node takes what any other sends. A label keeps out who has
// seen no packet of the fleet. It is no proof of the key: who overhears it can repeat it.
type labels struct {
	fleet string
	own   string // what memberlist puts on, and authenticates with everything that it encrypts: the fleet without a key
	valid atomic.Pointer[[][labelSize]byte]
}

func newLabels(fleet string, keys [][]byte) *labels {
	var sum [labelSize]byte
	blake3.DeriveKey("brink gossip fleet v1", []byte(fleet), sum[:])
	l := &labels{fleet: fleet, own: string(sum[:])}
	l.replace(keys)
	return l
}

// replace has l send the label of the first key, and take those of all.
func (l *labels) replace(keys [][]byte) {
	valid := make([][labelSize]byte, len(keys))
	for i, key := range keys {
		blake3.DeriveKey("brink gossip label v1", append(slices.Clip(key), l.fleet...), valid[i][:])
	}
	l.valid.Store(&valid)
}

// put replaces memberlist's label at the beginning of b.
func (l *labels) put(b []byte) error {
	if len(b) < len(labelHead)+labelSize || string(b[:2]) != labelHead || string(b[2:2+labelSize]) != l.own {
		return errors.New("memberlist sends something without its label")
	}
	copy(b[2:], (*l.valid.Load())[0][:])
	return nil
}

// take returns what is behind the label.
func (l *labels) take(b []byte) ([]byte, error) {
	if len(b) < len(labelHead)+labelSize || string(b[:2]) != labelHead {
		return nil, errLabel
	}
	label, rest := [labelSize]byte(b[2:2+labelSize]), b[2+labelSize:]
	if !slices.Contains(*l.valid.Load(), label) {
		return nil, errLabel
	}
	return rest, nil
}
