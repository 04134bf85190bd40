package database

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/ristretto/v2/z"

	"brink/digest"
)

// The format of Badger's value log files (v4.9.6, structs.go and memtable.go): 20 bytes of header, 8 of them a key
// number that is 0 without encryption; then entries: flags (2 bytes), lengths of key and value and time of expiry
// (uvarints), key, value, CRC-32C of everything before it (4 bytes, big endian). Keys end with 8 bytes of version.
//
// Badger reads such a file from its start in two cases, and both silently stop at the first entry with a wrong CRC: the
// newest file is truncated there when the database is opened, and a file that is rewritten loses everything after it.
// So a single flipped bit could lose a whole file of undamaged blobs. shieldLog and repairLogs limit the loss to one
// blob.
const (
	valueLogHeader = 20
	versionSize    = 8
)

// logPath returns the path of the value log file with the number.
func logPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%06d.vlog", number))
}

func valueLogFiles(dir string) (paths map[uint64]string, newest uint64, err error) {
	list, err := filesOf(dir, ".vlog")
	if err != nil {
		return nil, 0, err
	}
	paths = make(map[uint64]string, len(list))
	for _, path := range list {
		n, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".vlog"), 10, 32)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %s is not Badger's", ErrCorrupt, path)
		}
		paths[n] = path
		newest = max(newest, n)
	}
	return paths, newest, nil
}

// shieldLog adds an empty file after the newest one, so that Badger examines and truncates the empty one. Badger
// removes such files by itself. After a crash, the file before it is sparse and twice as long as it should be. Because
// garbage is counted in shares of that length, shieldLog truncates it after its last data.
func shieldLog(dir string) error {
	paths, newest, err := valueLogFiles(dir)
	if err != nil || newest == 0 {
		return err
	}
	f, err := os.OpenFile(paths[newest], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // what was written is synced
	info, err := f.Stat()
	if err != nil || info.Size() <= valueLogHeader {
		return err
	}
	if end := dataEnd(f, info.Size()); end < info.Size() {
		if err := f.Truncate(max(end, valueLogHeader)); err != nil {
			return err
		}
	}
	// A killed process may have left data in the page cache. The next process finds those blobs and commits a bundle with
	// them, but syncs only the files that it writes.
	if err := f.Sync(); err != nil {
		return err
	}
	header := make([]byte, valueLogHeader)
	_, _ = rand.Read(header[8:]) // it never fails
	return os.WriteFile(logPath(dir, newest+1), header, 0o640)
}

// repairLogs repairs the value log files that Badger may choose to rewrite. done contains those that were repaired. The
// newest file is not one of them and must not be mapped: Badger truncates it when it starts the next one, and reading
// the map beyond the new end would look like damage.
func (db *DB) repairLogs(done map[uint64]bool) error {
	return db.guard(func() error {
		raw, err := os.ReadFile(filepath.Join(db.dir, discardFile))
		if err != nil {
			return err
		}
		_, newest, err := valueLogFiles(db.dir)
		if err != nil {
			return err
		}
		for number, discard := range discards(raw) {
			path := logPath(db.dir, number)
			info, err := os.Stat(path)
			if err == nil && number < newest && !done[number] && float64(discard) >= discardRatio*float64(info.Size()) {
				done[number] = true
				err = db.repairLog(path)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// repairLog overwrites damaged entries with meaningless ones in a file that is not written to any more. It writes
// through a shared memory map, as Badger does, so that Badger sees the change. The caller must recover from faults in
// the map.
func (db *DB) repairLog(path string) error {
	f, err := z.OpenMmapFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if len(f.Data) <= valueLogHeader {
		return f.Close(-1)
	}
	if repaired := repairEntries(f.Data[valueLogHeader:]); repaired > 0 {
		db.log.Warn("repaired a damaged value log file", "file", path, "places", repaired)
	}
	return f.Close(-1) // which syncs
}

// repairEntries fills the gaps between readable entries, and returns their number. It does not change what follows the
// last readable entry.
func repairEntries(data []byte) (repaired int) {
	for at := 0; at < len(data); {
		n := entryLength(data[at:])
		if n > 0 {
			at += n
			continue
		}
		next := at + 1
		for next < len(data) && entryLength(data[next:]) == 0 {
			next++
		}
		if next == len(data) {
			return repaired
		}
		if fillGap(data[at:next]) {
			repaired++
		}
		at = next
	}
	return repaired
}

// entryLength returns the length of the entry of a blob at the start of data, or 0 if there is none.
func entryLength(data []byte) int {
	const lead = 3 // two bytes of flags, the second of which is 0 here, and the length of the key
	if len(data) < lead || data[1] != 0 || data[2] != digest.Size+versionSize {
		return 0
	}
	value, n := binary.Uvarint(data[lead:])
	if n <= 0 || value > 1<<20 {
		return 0
	}
	end := lead + n + 1 + digest.Size + versionSize + int(value)
	if len(data) < end+crc32.Size || data[lead+n] != 0 {
		return 0
	}
	if crc32.Checksum(data[:end], castagnoli) != binary.BigEndian.Uint32(data[end:]) {
		return 0
	}
	return end + crc32.Size
}

// fillGap fills the gap with one entry of a nonexistent key. It returns false if the gap is too short.
func fillGap(gap []byte) bool {
	const version = "\xff\xff\xff\xff\xff\xff\xff\xff" // 0: Badger writes versions inverted
	for key := digest.Size + versionSize; key < 2*digest.Size; key++ {
		for width := 1; width <= 5; width++ {
			value := len(gap) - (2 + 1 + width + 1) - key - crc32.Size
			if value < 0 || len(binary.AppendUvarint(nil, uint64(value))) != width {
				continue
			}
			head := binary.AppendUvarint([]byte{0, 0, byte(key)}, uint64(value))
			head = append(head, 0)
			head = append(head, bytes.Repeat([]byte{0}, key-versionSize)...)
			head = append(head, version...)
			copy(gap, head)
			end := len(gap) - crc32.Size
			binary.BigEndian.PutUint32(gap[end:], crc32.Checksum(gap[:end], castagnoli))
			return true
		}
	}
	return false
}

// castagnoli is the table for Badger's checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table that is never changed
