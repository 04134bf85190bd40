package database

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brink/digest"
)

func TestDB_CommitIsThereOrTheFolderDoesNotOpen(t *testing.T) {
	dir := t.TempDir()
	commit := func(value string) {
		t.Helper()
		db, err := Open(Config{Dir: dir, Kind: Records})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Commit(func(txn Txn) error { return txn.Set([]byte("key"), []byte(value)) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	commit("1")
	early := filepath.Join(t.TempDir(), "early")
	if err := os.CopyFS(early, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	commit("2")
	path := filepath.Join(early, headFile)
	head, err := os.ReadFile(filepath.Join(dir, headFile))
	if err == nil {
		err = os.WriteFile(path, head, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: early, Kind: Records}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open of a database that was rolled back = %v, want ErrCorrupt and what to remove", err)
	}
	flip(t, path, 2) // what it says is not to be trusted, so it is no reason to refuse either
	openDB(t, Config{Dir: early, Kind: Records})
	commit("3")
}

func FuzzCount(f *testing.F) {
	f.Add(sealCount(7))
	f.Fuzz(func(t *testing.T, value []byte) {
		n, err := openCount(value)
		if err == nil && !bytes.Equal(sealCount(n), value) {
			t.Error("a count that is not what would have been written")
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("openCount = %v, want ErrDamaged", err)
		}
		if len(value) != digest.Size+8 && err == nil {
			t.Errorf("a count of %d bytes", len(value))
		}
	})
}
