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

// A value log file of Badger (v4.9.6, structs.go and memtable.go): 20 bytes of header, 8 of them a key number that is 0
// without encryption; then entries: flags (2 bytes), lengths of key and value and time of expiry (uvarints), key,
// value, CRC-32C of all before it (4 bytes, big endian). Keys end with 8 bytes of version.
//
// Badger reads such a file from its start in two cases, and both stop silently at the first entry whose CRC is wrong:
// the newest file is cut there when the database is opened, and a file that is rewritten loses all that comes after. So
// a single bit would cost up to a file of sound blobs. shieldLog and mendLogs keep it at one blob.
const (
	valueLogHeader = 20
	versionSize    = 8
)

// logPath is where the file of the value log with that number lies.
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

// shieldLog puts an empty file after the newest, so that it is the empty one that Badger examines and cuts. Badger
// removes such files by itself. The file before it keeps its length, which after a crash is twice what it should be:
// sparse, but garbage is counted in shares of that length, so it is cut after its last data.
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
	// A process that died has left what it wrote in memory of the system. The next one finds those blobs, commits a
	// bundle that consists of them, and syncs no file but its own.
	if err := f.Sync(); err != nil {
		return err
	}
	header := make([]byte, valueLogHeader)
	_, _ = rand.Read(header[8:]) // it never fails
	return os.WriteFile(logPath(dir, newest+1), header, 0o640)
}

// mendLogs mends those files of the value log that Badger may choose to rewrite. done remembers them by number. The
// newest file is none of them, and must not be mapped: Badger cuts it when it begins the next one, and a read of the map
// beyond its new end would look like damage.
func (db *DB) mendLogs(done map[uint64]bool) error {
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
				err = db.mendLog(path)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// mendLog puts an entry without meaning in place of what is damaged in a file that nobody writes to. It writes through
// a shared map, as Badger does, so Badger sees the change. A fault in the map is for the caller to recover.
func (db *DB) mendLog(path string) error {
	f, err := z.OpenMmapFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if len(f.Data) <= valueLogHeader {
		return f.Close(-1)
	}
	if mended := mendEntries(f.Data[valueLogHeader:]); mended > 0 {
		db.log.Warn("mended a damaged value log file", "file", path, "places", mended)
	}
	return f.Close(-1) // which syncs
}

// mendEntries closes the gaps between the entries that it can read, and returns how many there were. What follows the
// last one is left alone.
func mendEntries(data []byte) (mended int) {
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
			return mended
		}
		if fillGap(data[at:next]) {
			mended++
		}
		at = next
	}
	return mended
}

// entryLength returns the length of the entry of a blob that data begin with, or 0 if they do not.
func entryLength(data []byte) int {
	const lead = 3 // two bytes of flags, the second of which is ours and 0, and the length of the key
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

// fillGap makes one entry of a key that no blob has, as long as the gap is.
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

// castagnoli is the polynomial of Badger's checksums. It is never changed.
var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table that is never changed
