package database

import (
	"encoding/binary"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"brink/digest"
)

// Txn is a transaction. It is valid until the function to which it was passed returns.
type Txn struct {
	badger *badger.Txn
	dir    string
}

// Get returns the item of key, or ErrNotFound.
func (t Txn) Get(key []byte) (Item, error) {
	item, err := t.badger.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return Item{}, ErrNotFound
	}
	return Item{badger: item, dir: t.dir}, err
}

// Set sets the value of key. The caller must not change either until Update has returned, and never if it returned an
// error: Badger may still use them.
func (t Txn) Set(key, value []byte) error { return t.badger.Set(key, value) }

// Delete removes key, if it exists. It retains the key as Set does.
func (t Txn) Delete(key []byte) error { return t.badger.Delete(key) }

// Item is a key with its value. It is valid as long as its transaction, or in [DB.Each] until do returns.
type Item struct {
	badger *badger.Item
	dir    string
}

// Key returns the key. The bytes are valid as long as the item.
func (i Item) Key() []byte { return i.badger.Key() }

// Value calls do with the value. If that is in the value log, its bytes are in a memory map: see [LogReader].
func (i Item) Value(do func([]byte) error) error { return i.badger.Value(do) }

// Copy returns the value, in the memory of b if it is large enough.
func (i Item) Copy(b []byte) ([]byte, error) { return i.badger.ValueCopy(b) }

// Footprint returns [Footprint] of the value, if the item is a blob. It reads only the tree.
func (i Item) Footprint() int64 {
	// For a value in the value log, as all blobs are, Badger's estimate is the exact length of its entry there.
	return i.badger.EstimatedSize() + treeSize
}

// treeSize is the size of a blob in Badger's tree: key, version, pointer, block index and bloom filter. It was measured
// as 75 bytes with 200,000 blobs.
const treeSize = 80

// Footprint returns how many bytes on disk a blob with a value of n bytes needs.
func Footprint(n int64) int64 { return entrySize(n) + treeSize }

// entrySize returns the length of the value log entry for a blob with a value of n bytes: two bytes of flags, the
// lengths of key and value, no expiry, the key with its version, the value and a CRC.
func entrySize(n int64) int64 {
	var varint [binary.MaxVarintLen64]byte
	return 2 + 1 + int64(binary.PutUvarint(varint[:], uint64(n))) + 1 + digest.Size + 8 + n + 4
}
