package database

import (
	"encoding/binary"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"brink/digest"
)

// Txn is one transaction. It is valid until the function that it was handed to returns.
type Txn struct {
	badger *badger.Txn
	dir    string
}

// Get returns what is under key, or ErrNotFound.
func (t Txn) Get(key []byte) (Item, error) {
	item, err := t.badger.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return Item{}, ErrNotFound
	}
	return Item{badger: item, dir: t.dir}, err
}

// Set puts value under key, in place of what was there. Neither may change until Update has returned, and never when
// that was with an error: they may still be in Badger's hands.
func (t Txn) Set(key, value []byte) error { return t.badger.Set(key, value) }

// Delete removes what is under key, if anything is. It keeps the key as Set does.
func (t Txn) Delete(key []byte) error { return t.badger.Delete(key) }

// Item is one key with its value. It is valid as long as its transaction, and one of [DB.Each] until do returns.
type Item struct {
	badger *badger.Item
	dir    string
}

// Key returns the key. The bytes are valid as long as the item.
func (i Item) Key() []byte { return i.badger.Key() }

// Value calls do with the value as Badger shows it, which of the value log is a memory map: see [LogReader].
func (i Item) Value(do func([]byte) error) error { return i.badger.Value(do) }

// Copy returns the value, in the memory of b if it is large enough.
func (i Item) Copy(b []byte) ([]byte, error) { return i.badger.ValueCopy(b) }

// Footprint is how many bytes of the disk the item takes, if it is a blob: what [Footprint] says of its value. It reads
// the tree alone.
func (i Item) Footprint() int64 {
	// For a value in the value log, and all are, Badger's estimate is the exact length of its entry there.
	return i.badger.EstimatedSize() + treeSize
}

// treeSize is what a blob costs in Badger's tree: key, version, pointer, block index and bloom filter;
// 75 bytes were measured at 200,000 blobs.
const treeSize = 80

// Footprint is how many bytes of the disk a blob takes whose value has n bytes.
func Footprint(n int64) int64 { return entrySize(n) + treeSize }

// entrySize is the length of the entry that Badger's value log has for a blob with a value of n bytes: two bytes of
// flags, the lengths of key and value, no expiry, the key with its version, the value and a CRC.
func entrySize(n int64) int64 {
	var varint [binary.MaxVarintLen64]byte
	return 2 + 1 + int64(binary.PutUvarint(varint[:], uint64(n))) + 1 + digest.Size + 8 + n + 4
}
