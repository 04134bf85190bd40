package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"brink/digest"
)

// head stores the number of acknowledged transactions outside of a database of records. Badger silently truncates its
// log at the first entry that it cannot read; later commits are then lost, and older versions of records reappear. A
// database that was rolled back in this way must not be used.
//
// The file has 16 bytes: the number, big endian, and the first 8 bytes of the digest of that. It is written after the
// transaction and before Commit returns, so the number is never higher than that in an undamaged database.
//
// In the database the number is stored under countKey in the same transaction: the digest of key, a zero byte and
// number, followed by the number, 8 bytes, big endian.
type head struct {
	file *os.File
}

const (
	headFile = "HEAD"
	countKey = "count/"
)

// Commit is Update with a durable result: on return it survives kill -9 and power loss, and a database that has lost it
// does not open. It is only for [Records], and must not be called concurrently.
func (db *DB) Commit(do func(Txn) error) error {
	var n uint64
	err := db.Update(func(txn Txn) error {
		var err error
		if n, err = txn.count(); err != nil {
			return err
		}
		n++
		if err := txn.Set([]byte(countKey), sealCount(n)); err != nil {
			return err
		}
		return do(txn)
	})
	if err != nil {
		return err
	}
	return db.head.write(n)
}

// count returns the number of committed transactions.
func (t Txn) count() (uint64, error) {
	item, err := t.Get([]byte(countKey))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	value, err := item.Copy(nil)
	if err != nil {
		return 0, err
	}
	return openCount(value)
}

func sealCount(n uint64) []byte {
	number := binary.BigEndian.AppendUint64(nil, n)
	sum := digest.Sum(append([]byte(countKey+"\x00"), number...))
	return append(sum[:], number...)
}

func openCount(value []byte) (uint64, error) {
	if len(value) != digest.Size+8 {
		return 0, fmt.Errorf("record %s: %w: %d bytes", countKey, ErrDamaged, len(value))
	}
	n := binary.BigEndian.Uint64(value[digest.Size:])
	if [digest.Size + 8]byte(value) != [digest.Size + 8]byte(sealCount(n)) {
		return 0, fmt.Errorf("record %s: %w: checksum", countKey, ErrDamaged)
	}
	return n, nil
}

// openHead opens the file and compares its number with that in the database.
func (db *DB) openHead() error {
	var committed uint64
	err := db.View(func(txn Txn) (err error) {
		committed, err = txn.count()
		return err
	})
	if err != nil {
		return err
	}
	path := filepath.Join(db.dir, headFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	var raw [16]byte
	if n, _ := file.ReadAt(raw[:], 0); n > 0 {
		sum := digest.Sum(raw[:8])
		switch acknowledged := binary.BigEndian.Uint64(raw[:8]); {
		case [8]byte(sum[:8]) != [8]byte(raw[8:]):
			db.log.Warn("the count of acknowledged transactions is damaged, replacing it", "file", path)
		case acknowledged > committed:
			err := fmt.Errorf("%w: %d transactions were acknowledged, but %s has %d: the newest signed records are lost. "+
				"Move that folder away to fetch all records again, or remove %s to continue without the lost ones",
				ErrCorrupt, acknowledged, db.dir, committed, path)
			return errors.Join(err, file.Close())
		}
	}
	db.head = &head{file: file}
	return db.head.write(committed)
}

// write makes n durable.
func (h *head) write(n uint64) error {
	raw := binary.BigEndian.AppendUint64(nil, n)
	sum := digest.Sum(raw)
	if _, err := h.file.WriteAt(append(raw, sum[:8]...), 0); err != nil {
		return err
	}
	return h.file.Sync()
}

// close closes the file, if there is one.
func (h *head) close() error {
	if h == nil {
		return nil
	}
	return h.file.Close()
}
