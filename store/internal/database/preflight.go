package database

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// preflight checks the files of a database before Badger opens them, because Badger (v4.9.6) does not survive some
// damage: it opens tables in its own goroutines, where a damaged one causes a panic that cannot be recovered, and in
// other cases it terminates the process. preflight repairs what can be repaired, and otherwise returns ErrCorrupt. No
// other process may use the folder.
//
//	MANIFEST     a damaged length looks like a torn tail, and all tables added after it would be deleted
//	*.sst        a damaged footer or block panics in a goroutine of Open
//	*.mem *.vlog an empty file, left by a crash between creat and ftruncate, prevents opening the database, and so does
//	             a key number in the first 8 bytes, which is always 0 without encryption
//	DISCARD      a damaged file number makes value log collection loop forever with a lock held; it contains statistics
//	last *.vlog  is truncated at the first damaged entry, see valuelog.go
//	KEYREGISTRY  is empty without encryption, and is created again
func preflight(o badger.Options, log *slog.Logger) error {
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return err
	}
	for _, extension := range []string{".mem", ".vlog"} {
		paths, err := filesOf(o.Dir, extension)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := repairHeader(path, log); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(filepath.Join(o.Dir, badger.KeyRegistryFileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkDiscard(o.Dir, log); err != nil {
		return err
	}
	if err := checkTables(o); err != nil {
		return err
	}
	return shieldLog(o.Dir)
}

// repairHeader removes an empty log, and clears a key number.
func repairHeader(path string, log *slog.Logger) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is read, or cleared and then read again
	var key [8]byte
	switch n, _ := f.ReadAt(key[:], 0); {
	case n == 0:
		return os.Remove(path)
	case key != [8]byte{}:
		log.Warn("repaired the header of a damaged log", "file", path)
		_, err = f.WriteAt(make([]byte, n), 0)
	}
	return err
}

// discardFile is where Badger counts the garbage of each value log file.
const discardFile = "DISCARD"

// discards yields the entries of the statistics of garbage: file number and bytes of garbage, 8 bytes each, big endian,
// up to the first number 0.
func discards(raw []byte) iter.Seq2[uint64, uint64] {
	return func(yield func(number, discard uint64) bool) {
		for ; len(raw) >= 16; raw = raw[16:] {
			number, discard := binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:])
			if number == 0 || !yield(number, discard) {
				return
			}
		}
	}
}

// soundDiscards reports whether statistics are plausible if newest is the highest file number.
func soundDiscards(raw []byte, newest uint64) bool {
	sound := len(raw) > 0 && len(raw)%(1<<20) == 0
	last := uint64(0)
	for number, discard := range discards(raw) {
		sound = sound && number > last && number <= newest && discard < 1<<32
		last = number
	}
	return sound
}

// checkDiscard removes implausible statistics of garbage.
func checkDiscard(dir string, log *slog.Logger) error {
	path := filepath.Join(dir, discardFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, newest, err := valueLogFiles(dir)
	if err != nil {
		return err
	}
	if soundDiscards(raw, newest) {
		return nil
	}
	log.Warn("removed damaged statistics; some garbage will remain on disk", "file", path)
	return os.Remove(path)
}

// checkTables reads every block of every table that the MANIFEST names.
func checkTables(o badger.Options) error {
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		tables, err := filesOf(o.Dir, ".sst")
		if len(tables) > 0 {
			return fmt.Errorf("%w: MANIFEST is missing", ErrCorrupt)
		}
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is read, or cleared and then read again
	manifest, end, err := badger.ReplayManifestFile(f, 0, o)
	if err != nil {
		return fmt.Errorf("%w: MANIFEST: %w", ErrCorrupt, err)
	}
	if err := checkTail(f, end); err != nil {
		return err
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, o.Dir)); err != nil {
			return fmt.Errorf("%w: table %d: %w", ErrCorrupt, id, err)
		}
	}
	return nil
}

// checkTail returns an error if the first record after end is damaged and others follow it. If none follow, the record
// was torn in a crash, which is not an error.
func checkTail(f *os.File, end int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() == end {
		return err
	}
	tail := make([]byte, info.Size()-end)
	if _, err := f.ReadAt(tail, end); err != nil {
		return err
	}
	if holdsRecord(tail) {
		return fmt.Errorf("%w: MANIFEST: a record before its end is damaged", ErrCorrupt)
	}
	return nil
}

// holdsRecord reports whether there is a record of the MANIFEST anywhere after the first byte of tail: 4 bytes of
// length, 4 bytes of CRC-32C, and the content.
func holdsRecord(tail []byte) bool {
	for at := 1; at+8 < len(tail); at++ {
		length := uint64(binary.BigEndian.Uint32(tail[at:]))
		rest := tail[at+8:]
		if length == 0 || length > uint64(len(rest)) {
			continue
		}
		if crc32.Checksum(rest[:length], castagnoli) == binary.BigEndian.Uint32(tail[at+4:]) {
			return true
		}
	}
	return false
}

func checkTable(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			reason, _, _ := bytes.Cut(fmt.Append(nil, r), []byte("\n"))
			err = fmt.Errorf("unreadable %s", reason)
		}
	}()
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	t, err := table.OpenTable(file, table.Options{ChkMode: options.OnTableRead, Compression: options.None})
	if err != nil {
		return err
	}
	return t.Close(-1)
}
