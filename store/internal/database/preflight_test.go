package database

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filled returns the folder of a database that was closed, and the values in it.
func filled(t *testing.T) (dir string, values [][]byte) {
	t.Helper()
	dir = t.TempDir()
	db, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	values = noise(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, values
}

// newest returns the file of a kind that was made last.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths[len(paths)-1]
}

// flip flips bits of one byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[at] ^= 0x55
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check reports the values that cannot be read as they were put.
func check(t *testing.T, db *DB, values [][]byte) (lost int) {
	t.Helper()
	var r LogReader
	defer r.Close()
	for _, want := range values {
		err := db.Read(nameOf(want), func(item Item) error {
			got, err := r.Value(item)
			if err == nil && !bytes.Equal(got, want) {
				err = ErrDamaged
			}
			return err
		})
		if err != nil {
			lost++
		}
	}
	return lost
}

func TestOpen_MendsWhatBadgerWouldNotSurvive(t *testing.T) {
	write := func(name string, data []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]func(t *testing.T, dir string){
		"empty memtable log":     write("00009.mem", nil),
		"empty value log":        write("000009.vlog", nil),
		"key number of a log":    func(t *testing.T, dir string) { flip(t, newest(t, dir, "*.vlog"), 3) },
		"garbled statistics":     write(discardFile, bytes.Repeat([]byte{0xaa}, 1<<20)),
		"short statistics":       write(discardFile, []byte("short")),
		"key registry":           write("KEYREGISTRY", []byte("garbled")),
		"record that was torn":   func(t *testing.T, dir string) { grow(t, filepath.Join(dir, "MANIFEST"), "\x00\x00\x00\x10torn") },
		"log that has no values": write("000009.vlog", make([]byte, valueLogHeader)),
	} {
		t.Run(name, func(t *testing.T) {
			dir, values := filled(t)
			harm(t, dir)
			if lost := check(t, openDB(t, Config{Dir: dir}), values); lost > 0 {
				t.Errorf("%d values are lost", lost)
			}
			raw, err := os.ReadFile(filepath.Join(dir, discardFile))
			if err != nil || !soundDiscards(raw, 1) {
				t.Errorf("the statistics are not sound: %v", err)
			}
		})
	}
}

func grow(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpen_RefusesWhatCanNotBeMended(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string) error{
		"table cut short":    func(t *testing.T, dir string) error { return os.Truncate(newest(t, dir, "*.sst"), 100) },
		"table gone":         func(t *testing.T, dir string) error { return os.Remove(newest(t, dir, "*.sst")) },
		"block of a table":   func(t *testing.T, dir string) error { flip(t, newest(t, dir, "*.sst"), 40); return nil },
		"manifest gone":      func(t *testing.T, dir string) error { return os.Remove(filepath.Join(dir, "MANIFEST")) },
		"head of manifest":   func(t *testing.T, dir string) error { flip(t, filepath.Join(dir, "MANIFEST"), 0); return nil },
		"length in manifest": func(t *testing.T, dir string) error { flip(t, filepath.Join(dir, "MANIFEST"), 8); return nil },
		"log of another": func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "x.vlog"), []byte("x"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := filled(t)
			if err := harm(t, dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Config{Dir: dir, Hint: "move it aside"})
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "(move it aside)") {
				t.Errorf("Open = %v, want ErrCorrupt and the hint", err)
			}
		})
	}
}

// Badger cuts the newest file of the value log at the first entry that it cannot read.
func TestOpen_DamageInTheNewestLogCostsOneValue(t *testing.T) {
	dir, values := filled(t)
	path := newest(t, dir, "*.vlog")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, path, bytes.Index(raw, values[3])+10)
	if lost := check(t, openDB(t, Config{Dir: dir}), values); lost != 1 {
		t.Errorf("%d values are lost, want 1", lost)
	}
}

// A machine that dies leaves what was synced, and no table of it yet.
func TestOpen_ReplaysWhatWasSynced(t *testing.T) {
	db := openDB(t, Config{})
	values := noise(t, db)
	if err := db.Sync(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(db.Dir())); err != nil {
		t.Fatal(err)
	}
	if lost := check(t, openDB(t, Config{Dir: left}), values); lost > 0 {
		t.Errorf("%d values are lost", lost)
	}
}

func FuzzDiscards(f *testing.F) {
	f.Add(make([]byte, 1<<20), uint64(1))
	f.Add(append([]byte("\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00"), make([]byte, 1<<20-16)...), uint64(1))
	f.Fuzz(func(t *testing.T, raw []byte, newest uint64) {
		sound, entries, last := soundDiscards(raw, newest), 0, uint64(0)
		for number, discard := range discards(raw) {
			entries++
			if sound && (number <= last || number > newest || discard >= 1<<32) {
				t.Errorf("file %d after %d of %d has %d bytes of garbage", number, last, newest, discard)
			}
			last = number
		}
		if entries > len(raw)/16 {
			t.Errorf("%d entries in %d bytes", entries, len(raw))
		}
	})
}

func FuzzManifestTail(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x40torn"))
	f.Fuzz(func(t *testing.T, tail []byte) {
		if holdsRecord(tail) && !holdsRecord(append([]byte{0}, tail...)) {
			t.Error("a record is not found one byte further on")
		}
	})
}
