package database

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise puts blobs of several lengths and returns their values.
func noise(t *testing.T, db *DB) (values [][]byte) {
	t.Helper()
	source := rand.NewChaCha8([32]byte{})
	for i := range 20 {
		value := make([]byte, 100+1000*i)
		_, _ = source.Read(value) // it never fails
		values = append(values, value)
	}
	put(t, db, values...)
	return values
}

// The reader relies on a field of Badger's that it shows to nobody. Should it be gone, values are still read, but
// slowly from a cold disk, and nobody would notice.
func TestLogReader_FindsWhatBadgerShows(t *testing.T) {
	db := openDB(t, Config{})
	var r LogReader
	defer r.Close()
	for _, value := range noise(t, db) {
		err := db.Read(nameOf(value), func(item Item) error {
			if _, ok := pointerOf(item.badger); !ok {
				t.Fatal("Badger does not keep the pointer where it did")
			}
			got, err := r.Value(item)
			if err != nil {
				return err
			}
			return item.Value(func(want []byte) error {
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes are read, and %d shown, or others", len(got), len(want))
				}
				if !bytes.Equal(want, value) {
					t.Errorf("%d bytes are shown, not %d, or others", len(want), len(value))
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if readsLog && r.file == nil {
			t.Fatal("the value was not read from the file")
		}
	}
}

// Without the file, which may be collected, or without a descriptor, there is still the map.
func TestLogReader_ReadsTheMapWhenItHasNoFile(t *testing.T) {
	db := openDB(t, Config{})
	var r LogReader
	defer r.Close()
	for _, value := range noise(t, db) {
		err := db.Read(nameOf(value), func(item Item) error {
			item.dir = filepath.Join(t.TempDir(), "none")
			got, err := r.Value(item)
			if err == nil && !bytes.Equal(got, value) {
				t.Errorf("%d bytes are read, not %d, or others", len(got), len(value))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What was cut off is damage, and unlike a fault in the map it leaves nothing locked in Badger.
func TestLogReader_OfACutFile(t *testing.T) {
	if !readsLog {
		t.Skip("skipped: values are read from the map here")
	}
	db := openDB(t, Config{})
	values := noise(t, db)
	logs, err := filepath.Glob(filepath.Join(db.Dir(), "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	lengths := make(map[string]int64)
	for _, path := range logs {
		info, err := os.Stat(path)
		if err == nil {
			lengths[path] = info.Size()
			err = os.Truncate(path, valueLogHeader)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var r LogReader
	defer r.Close()
	for _, value := range values {
		err := db.Read(nameOf(value), func(item Item) error {
			_, err := r.Value(item)
			return err
		})
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("Value = %v, want ErrDamaged", err)
		}
	}
	if db.Poisoned() {
		t.Error("the database is poisoned")
	}
	for path, length := range lengths { // Badger faults when it closes a file that is shorter than its map
		if err := os.Truncate(path, length); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzEntryValue(f *testing.F) {
	f.Add(logEntry(1, 80))
	f.Fuzz(func(t *testing.T, entry []byte) {
		value := entryValue(entry)
		if n := entryLength(entry); n > 0 && entryLength(entry[:n]) == n && !bytes.Contains(entry[:n], value) {
			t.Error("a value that is not in its entry")
		}
	})
}
