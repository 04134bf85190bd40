package database

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"brink/bench/cost"
	"brink/digest"
)

// A value log with damage at any byte keeps all entries but the one that was hit.
func TestMendEntries_LosesOne(t *testing.T) {
	var data []byte
	var ends []int
	for i := range 4 {
		data = append(data, logEntry(byte(i), 70+i*90)...)
		ends = append(ends, len(data))
	}
	sound := bytes.Clone(data)
	if n := repairEntries(sound); n != 0 || !bytes.Equal(sound, data) {
		t.Fatalf("%d places of sound data were mended", n)
	}
	for i := range ends[2] {
		bad := bytes.Clone(data)
		bad[i] ^= 0x20
		if n := repairEntries(bad); n != 1 {
			t.Fatalf("byte %d: %d places mended, want 1", i, n)
		}
		start := 0
		for entry, end := range ends {
			if hit := i >= start && i < end; !hit && !bytes.Equal(bad[start:end], data[start:end]) {
				t.Fatalf("byte %d: entry %d has changed", i, entry)
			}
			start = end
		}
		if at := walk(bad); at != len(bad) {
			t.Fatalf("byte %d: the entries can be read up to %d of %d", i, at, len(bad))
		}
	}
}

// walk reads entries of any key, as Badger does, and returns where it stops.
func walk(data []byte) (at int) {
	for at < len(data) {
		n := anyEntry(data[at:])
		if n == 0 {
			return at
		}
		at += n
	}
	return at
}

func FuzzMendEntries(f *testing.F) {
	f.Add(append(logEntry(1, 80), logEntry(2, 300)...))
	f.Fuzz(func(t *testing.T, before []byte) {
		var data []byte
		n := 0
		cost.Check(t, len(before), func() {
			data = bytes.Clone(before)
			n = repairEntries(data)
		})
		if n == 0 && !bytes.Equal(before, data) {
			t.Error("changed without saying so")
		}
		if repairEntries(data) != 0 {
			t.Error("mended twice")
		}
	})
}

// logEntry is an entry of Badger's value log with a value of n bytes.
func logEntry(key byte, n int) []byte {
	b := binary.AppendUvarint([]byte{0, 0, digest.Size + versionSize}, uint64(n))
	b = append(b, 0)
	b = append(b, bytes.Repeat([]byte{key + 1}, digest.Size+versionSize)...)
	b = append(b, bytes.Repeat([]byte{key + 100}, n)...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// anyEntry is entryLength for keys of any length.
func anyEntry(data []byte) int {
	if len(data) < 3 {
		return 0
	}
	value, n := binary.Uvarint(data[3:])
	end := 3 + n + 1 + int(data[2]) + int(value)
	if n > 0 && end+crc32.Size <= len(data) &&
		crc32.Checksum(data[:end], castagnoli) == binary.BigEndian.Uint32(data[end:]) {
		return end + crc32.Size
	}
	return 0
}

// The newest file is written to, and Badger cuts it when it begins the next: a map of it faults then, which looked like
// damage and kept disk space from coming back until the next start.
func TestDB_RepairsNoFileInUse(t *testing.T) {
	db := openDB(t, Config{})
	put(t, db, bytes.Repeat([]byte{1}, 128<<10))
	_, newest, err := valueLogFiles(db.Dir())
	if err != nil || newest == 0 {
		t.Fatalf("newest file = %d, %v", newest, err)
	}
	f, err := os.OpenFile(filepath.Join(db.Dir(), discardFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entry := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, newest), 1<<31)
	if _, err := f.WriteAt(entry, 0); err != nil {
		t.Fatal(err)
	}
	done := map[uint64]bool{}
	if err := db.repairLogs(done); err != nil || len(done) > 0 {
		t.Errorf("repairLogs = %v, and it read %v", err, done)
	}
}
