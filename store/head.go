package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"brink/digest"
)

// head remembers, outside of the database of records, how many transactions were acknowledged. Badger cuts its log at
// the first entry that it can not read and says nothing; what was committed later is then gone, and an older version of
// a signed record comes to light again. A store that was rolled back in that way must not serve as if nothing had
// happened.
//
// The file has 16 bytes: the number, big endian, and the first 8 bytes of the digest of those. It is written after the
// transaction and before anybody is told that it was committed, so it is never ahead of a sound database.
type head struct {
	file *os.File
}

const headFile = "HEAD"

// openHead compares the file with what the database holds.
func openHead(dir string, committed uint64, log *slog.Logger) (*head, error) {
	path := filepath.Join(dir, headFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	var raw [16]byte
	if n, _ := file.ReadAt(raw[:], 0); n > 0 {
		sum := digest.Sum(raw[:8])
		switch acknowledged := binary.BigEndian.Uint64(raw[:8]); {
		case [8]byte(sum[:8]) != [8]byte(raw[8:]):
			log.Warn("the count of acknowledged records is damaged and begins anew", "file", path)
		case acknowledged > committed:
			err := fmt.Errorf("%w: %d transactions were acknowledged and %s holds %d: the newest signed records are lost. "+
				"Move that folder aside to fetch all records again, or remove %s to go on with what there is",
				ErrCorrupt, acknowledged, dir, committed, path)
			return nil, errors.Join(err, file.Close())
		}
	}
	h := &head{file: file}
	if err := h.write(committed); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return h, nil
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

func (h *head) close() error { return h.file.Close() }
