package database

import (
	"bytes"
	"os"
	"testing"
)

func TestDB_ReclaimGivesSpaceBack(t *testing.T) {
	room := true
	db := openDB(t, Config{Room: func(int64) bool { return room }})
	var values [][]byte
	for range 4 {
		values = append(values, noise(t, db)...) // the same ones, which makes garbage
	}
	values = values[:20]
	before := logBytes(t, db)
	for i := range 150 {
		garbage := bytes.Repeat([]byte{byte(i)}, 128<<10)
		put(t, db, garbage)
		if err := db.Update(func(txn Txn) error { return txn.Delete(nameOf(garbage)) }); err != nil {
			t.Fatal(err)
		}
	}
	full := logBytes(t, db)
	room = false
	if err := db.Reclaim(t.Context()); err == nil || db.Rewritten() != 0 {
		t.Errorf("Reclaim without room = %v, %d files rewritten", err, db.Rewritten())
	}
	room = true
	for range 10 { // on a slow machine compaction is not done when the first one looks
		if err := db.Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if db.Rewritten() > 0 && logBytes(t, db) <= full/2 {
			break
		}
	}
	if after := logBytes(t, db); after > full/2 || db.Rewritten() == 0 {
		t.Errorf("%d bytes of logs, then %d, and %d after %d files were rewritten", before, full, after, db.Rewritten())
	}
	if lost := check(t, db, values); lost > 0 {
		t.Errorf("%d values are lost", lost)
	}
}

func logBytes(t *testing.T, db *DB) (total int64) {
	t.Helper()
	paths, _, err := valueLogFiles(db.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}
