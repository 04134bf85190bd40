package database

import (
	"errors"
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
