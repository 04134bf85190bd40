package database

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"brink/digest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openDB opens a database and closes it when t ends.
func openDB(t *testing.T, c Config) *DB {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	db, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

// put keeps values under the digests of their bytes.
func put(t *testing.T, db *DB, values ...[]byte) {
	t.Helper()
	for _, value := range values {
		if err := db.Update(func(txn Txn) error { return txn.Set(nameOf(value), value) }); err != nil {
			t.Fatal(err)
		}
	}
}

func nameOf(value []byte) []byte {
	d := digest.Sum(value)
	return d[:]
}

// Value log collection may take a file away under a reader, once.
func TestRead_TriesAgain(t *testing.T) {
	db := openDB(t, Config{})
	put(t, db, []byte("a blob"))
	calls := 0
	err := db.Read(nameOf([]byte("a blob")), func(Item) error {
		if calls++; calls == 1 {
			return ErrDamaged
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("Read = %v after %d calls, want 2", err, calls)
	}
}

// A fault while a blob is read is damage, not the end of the process; and it keeps the value log from being rewritten.
func TestGuard_Panic(t *testing.T) {
	sound := openDB(t, Config{})
	db := &DB{badger: sound.badger, dir: sound.dir, log: sound.log}
	err := db.View(func(Txn) error { panic("unexpected fault address") })
	if !errors.Is(err, ErrDamaged) || !db.poisoned.Load() {
		t.Errorf("View = %v, poisoned %v, want ErrDamaged", err, db.poisoned.Load())
	}
	if n, err := db.rewrite(t.Context()); n != 0 || err != nil {
		t.Errorf("rewrite of a poisoned database = %d, %v", n, err)
	}
}

// Badger writes when it closes, and on a full disk that ends the process.
func TestDB_CloseWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(Config{Dir: dir, Room: func(int64) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	values := noise(t, db)
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Errorf("Close = %v", err)
	}
	if db.badger.IsClosed() {
		t.Error("Badger was closed")
	}
	left := filepath.Join(t.TempDir(), "left")
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := db.badger.Close(); err != nil { // what the end of the process does otherwise
		t.Fatal(err)
	}
	if lost := check(t, openDB(t, Config{Dir: left}), values); lost > 0 {
		t.Errorf("%d values are lost", lost)
	}
}

func TestDB_AfterClose(t *testing.T) {
	db, err := Open(Config{Dir: t.TempDir(), Kind: Records})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	nothing := func(Txn) error { return nil }
	_, has := db.Has([]byte("key"))
	for name, err := range map[string]error{
		"Has": has, "View": db.View(nothing), "Update": db.Update(nothing), "Commit": db.Commit(nothing),
		"Read": db.Read([]byte("key"), nil), "Each": db.Each(nil, nil, nil), "Sync": db.Sync(),
		"VerifyTables": db.VerifyTables(), "Reclaim": db.Reclaim(t.Context()),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", name, err)
		}
	}
}

func TestConfig_Validate(t *testing.T) {
	for name, c := range map[string]Config{
		"no folder":      {},
		"unknown kind":   {Dir: "x", Kind: 7},
		"negative quota": {Dir: "x", Quota: -1},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s: Validate = nil", name)
		}
		if _, err := Open(c); err == nil {
			t.Errorf("%s: Open = nil", name)
		}
	}
}
