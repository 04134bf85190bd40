package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"brink/digest"
)

// head remembers, outside of a database of records, how many transactions were acknowledged. Badger cuts its log at the
// first entry that it cannot read and says nothing; what was committed later is then gone, and an older version of a
// record comes to light again. A database that was rolled back in that way must not be used as if nothing had happened.
//
// The file has 16 bytes: the number, big endian, and the first 8 bytes of the digest of those. It is written after the
// transaction and before anybody is told that it was committed, so it is never ahead of a sound database.
//
// In the database the number lies under countKey, changed in the same transaction: the digest of key, a zero byte and
// number, and then the number, 8 bytes, big endian.
type head struct {
	file *os.File
}

const (
	headFile = "HEAD"
	countKey = "count/"
)

// Commit is Update for what somebody is told of: it is durable on return, whatever happens to the process or the
// machine, and a database that has lost it does not open. Calls come one after the other, and only to [Records].
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

// count returns how many transactions were committed.
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

// openHead compares the file with what the database holds.
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
			db.log.Warn("the count of acknowledged records is damaged, counting begins again", "file", path)
		case acknowledged > committed:
			err := fmt.Errorf("%w: %d transactions were acknowledged and %s holds %d: the newest signed records are lost. "+
				"Move that folder aside to fetch all records again, or remove %s to go on with what there is",
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
