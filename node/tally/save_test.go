package tally

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keep keeps what has changed in store, and returns the keys.
func keep(t *testing.T, tally *Tally, store map[string][]byte) (keys []string) {
	t.Helper()
	for _, key := range tally.Missing() {
		if err := tally.Restore(key, store[key]); err != nil {
			t.Fatal(err)
		}
	}
	records := tally.Changes()
	for _, r := range records {
		store[r.Key] = r.Data
		keys = append(keys, strings.TrimPrefix(r.Key, KeyPrefix+app+"/"))
	}
	tally.Saved(records)
	slices.Sort(keys)
	return keys
}

func wantKeys(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestTally_RestoresSavedPages(t *testing.T) {
	c := newClock()
	store := map[string][]byte{}
	first := start(t, c)
	for i := range 3000 {
		first.Check(app, "1.0.0", Update, fmt.Sprint(i))
	}
	wantKeys(t, keep(t, first, store), "2026-11", "2026-11-23")

	second := start(t, c)
	for i := range 2000 {
		second.Check(app, "1.0.0", Update, fmt.Sprint(2000+i))
	}
	if records := second.Changes(); len(records) != 0 {
		t.Errorf("%d records would overwrite what was kept before", len(records))
	}
	wantKeys(t, keep(t, second, store), "2026-11", "2026-11-23")
	keep(t, second, store) // what was kept is adopted once

	third := start(t, c)
	third.Open(app)
	wantKeys(t, keep(t, third, store)) // nothing was counted
	if got := counts(third)[Cell{"1.0.0", CheckUpdate}]; got != 5000 {
		t.Errorf("%d checks, want 5000", got)
	}
	got := third.Part(app).Months[DayOf(c.Now()).Month()].Count()
	if got < 3950 || got > 4050 {
		t.Errorf("%d devices, want about 4000", got)
	}
	if active := third.Activity()[0].Devices; active != got {
		t.Errorf("%d devices are told, want %d", active, got)
	}
}

func TestTally_SavesOnlyChanges(t *testing.T) {
	tally := start(t, newClock())
	store := map[string][]byte{}
	tally.Check(app, "1.0.0", Update, "a")
	if active := tally.Activity()[0].Devices; active != 0 {
		t.Errorf("%d devices before anything was looked at", active)
	}
	wantKeys(t, keep(t, tally, store), "2026-11", "2026-11-23")
	wantKeys(t, keep(t, tally, store))
	tally.Check(app, "1.0.0", Update, "a")
	wantKeys(t, keep(t, tally, store), "2026-11-23") // the device was known: its sketch is as it was
	tally.Check(app, "1.0.0", Update, "b")
	wantKeys(t, keep(t, tally, store), "2026-11", "2026-11-23")
	if active := tally.Activity()[0].Devices; active != 2 {
		t.Errorf("%d devices, want 2", active)
	}
	// What could not be kept is given again.
	tally.Check(app, "1.0.0", Update, "c")
	if n := len(tally.Changes()); n != 2 {
		t.Errorf("%d records", n)
	}
	wantKeys(t, keep(t, tally, store), "2026-11", "2026-11-23")
}

func TestTally_KeepsTheDayBefore(t *testing.T) {
	c := newClock()
	tally := start(t, c)
	store := map[string][]byte{}
	tally.Check(app, "1.0.0", Update, "a")
	keep(t, tally, store)
	tally.Check(app, "1.0.0", Update, "b")
	c.add(8 * 24 * time.Hour)
	tally.Check(app, "1.0.0", Update, "a")
	wantKeys(t, keep(t, tally, store), "2026-11", "2026-11-23", "2026-12", "2026-12-01")
	if part := tally.Part(app); len(part.Days) != 1 || len(part.Months) != 1 {
		t.Errorf("%d days and %d months are in memory, want those of today", len(part.Days), len(part.Months))
	}
	if got, err := ParseCounts(store[KeyPrefix+app+"/2026-11-23"]); err != nil || got[Cell{"1.0.0", CheckUpdate}] != 2 {
		t.Errorf("the day before has %v, %v", got, err)
	}
	// Days that cannot be kept do not pile up.
	for range 5 {
		c.add(24 * time.Hour)
		tally.Check(app, "1.0.0", Update, "a")
	}
	if days := len(tally.Part(app).Days); days != 2 {
		t.Errorf("%d days are in memory", days)
	}
}

func TestTally_RestoresNothingMalformed(t *testing.T) {
	tally := start(t, newClock())
	tally.Check(app, "1.0.0", Update, "a")
	for _, key := range tally.Missing() {
		if err := tally.Restore(key, []byte("rust")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), key) {
			t.Errorf("Adopt(%s) = %v", key, err)
		}
	}
	if n := len(tally.Changes()); n != 2 {
		t.Errorf("%d records are to be kept, want 2: counting goes on", n)
	}
	for _, key := range []string{"", "stats/", "stats/com.a", "stats/com.a/", "stats/com.a/2026", "other/com.a/2026-11"} {
		if err := tally.Restore(key, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("Adopt(%q) = %v", key, err)
		}
	}
}

func TestStale_ReportsOldAndInvalidKeys(t *testing.T) {
	now := newClock().Now()
	today := DayOf(now)
	for key, want := range map[string]bool{
		DayKey(app, today):                               false,
		DayKey(app, today+1):                             false, // a clock that was wrong is no reason to lose anything
		DayKey(app, today-KeepDays+1):                    false,
		DayKey(app, today-KeepDays):                      true,
		MonthKey(app, today.Month()):                     false,
		MonthKey(app, today.Month()-KeepMonths+1):        false,
		MonthKey(app, today.Month()-KeepMonths):          true,
		KeyPrefix + app + "/2026-11-31":                  true,
		KeyPrefix + app:                                  true,
		strings.TrimPrefix(DayKey(app, today), "stats/"): true,
	} {
		if got := Stale(key, now); got != want {
			t.Errorf("Stale(%s) = %t", key, got)
		}
	}
}

func TestDay_IsInUTC(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-23T23:59:59Z":      "2026-11-23 2026-11",
		"2026-11-30T23:30:00-02:00": "2026-12-01 2026-12",
		"2024-02-29T00:00:00Z":      "2024-02-29 2024-02",
		"1969-12-31T23:00:00Z":      "1970-01-01 1970-01",
		"9999-12-31T23:59:59Z":      "9999-12-31 9999-12",
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		day := DayOf(at)
		if got := day.String() + " " + day.Month().String(); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
		var read Day
		if err := read.UnmarshalText([]byte(day.String())); err != nil || read != day {
			t.Errorf("%s is read as %v, %v", day, read, err)
		}
	}
	if DayOf(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)) != maxDay || maxDay.Month() != maxMonth {
		t.Error("the last day is not the last")
	}
}
