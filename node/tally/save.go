package tally

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// How long saved pages are kept, see [Stale].
const (
	KeepDays   = 400 // a year, and the month before for comparison
	KeepMonths = 14
)

// KeyPrefix is the prefix of all keys. A key is the prefix, the app, a slash, and the day or the month.
const KeyPrefix = "stats/"

// DayKey returns the key of a day of an app.
func DayKey(app string, day Day) string { return KeyPrefix + app + "/" + day.String() }

// MonthKey returns the key of a month of an app.
func MonthKey(app string, month Month) string { return KeyPrefix + app + "/" + month.String() }

// splitKey parses a key. It returns either a day or a month.
func splitKey(key string) (app string, day Day, month Month, isDay bool, err error) {
	rest, prefixed := strings.CutPrefix(key, KeyPrefix)
	app, date, cut := strings.Cut(rest, "/")
	if !prefixed || !cut || !appName(app) {
		return "", 0, 0, false, fmt.Errorf("%w: key %q", ErrMalformed, key)
	}
	if len(date) == len(dayLayout) {
		return app, day, 0, true, day.UnmarshalText([]byte(date))
	}
	return app, 0, month, false, month.UnmarshalText([]byte(date))
}

// Stale reports whether the page under key can be removed: it is older than [KeepDays] or [KeepMonths], or the key is
// invalid.
func Stale(key string, now time.Time) bool {
	_, day, month, isDay, err := splitKey(key)
	if err != nil {
		return true
	}
	today := DayOf(now)
	if isDay {
		return day <= today-KeepDays
	}
	return month <= today.Month()-KeepMonths
}

// Missing returns the keys of open pages that an earlier process may have saved. Pass the value under each to
// [Tally.Restore].
func (t *Tally) Missing() (keys []string) {
	for _, b := range t.all() {
		b.mu.Lock()
		for _, p := range b.dayPages() {
			if !p.restored {
				keys = append(keys, DayKey(b.app, p.day))
			}
		}
		for _, p := range b.monthPages() {
			if !p.restored {
				keys = append(keys, MonthKey(b.app, p.month))
			}
		}
		b.mu.Unlock()
	}
	return keys
}

// Restore adds a saved page, under a key of [Tally.Missing], to what was counted since; nil means that none was saved.
// It has an effect once for each page. If the page is [ErrMalformed], it counts as empty.
func (t *Tally) Restore(key string, saved []byte) error {
	app, day, month, isDay, err := splitKey(key)
	if err != nil {
		return err
	}
	t.mu.RLock()
	b := t.books[app]
	t.mu.RUnlock()
	if b == nil {
		return nil
	}
	counts := Counts{}
	devices := newDevices()
	if saved != nil && isDay {
		counts, err = ParseCounts(saved)
	} else if saved != nil {
		devices, err = parseDevices(saved)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", key, err)
		counts, devices = Counts{}, newDevices()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if isDay {
		for _, p := range b.dayPages() {
			if p.day == day && !p.restored {
				p.restore(t, app, counts)
			}
		}
		return err
	}
	for _, p := range b.monthPages() {
		if p.month == month && !p.restored {
			p.devices.Merge(devices)
			p.restored, p.last = true, sha256.Sum256(saved)
		}
		if p == b.months.now {
			b.active = p.devices.Count()
		}
	}
	return err
}

func (b *book) dayPages() (pages []*dayPage) {
	for _, p := range []*dayPage{b.days.former, b.days.now} {
		if p != nil {
			pages = append(pages, p)
		}
	}
	return pages
}

func (b *book) monthPages() (pages []*monthPage) {
	for _, p := range []*monthPage{b.months.former, b.months.now} {
		if p != nil {
			pages = append(pages, p)
		}
	}
	return pages
}

// Record is a page to save: Data, at most 64 KiB, replaces the value under Key.
type Record struct {
	Key  string
	Data []byte

	saved func() // records that the page was saved in this state
}

// Changes returns the pages that have changed since they were last saved, without those in [Tally.Missing]. Later
// changes are returned by the next call.
func (t *Tally) Changes() []Record {
	var records []Record
	for _, b := range t.all() {
		b.mu.Lock()
		days, months := b.dayPages(), b.monthPages()
		b.mu.Unlock()
		for _, p := range days {
			if r, changed := b.day(p); changed {
				records = append(records, r)
			}
		}
		for _, p := range months {
			if r, changed := b.month(p); changed {
				records = append(records, r)
			}
		}
	}
	return records
}

// Saved records that the records are durable.
func (t *Tally) Saved(records []Record) {
	for _, r := range records {
		r.saved()
	}
}

// day returns the record of a page of b, if it has changed. Counting is blocked only while the counters are copied.
func (b *book) day(p *dayPage) (Record, bool) {
	b.mu.Lock()
	changes := p.changes
	if !p.restored || p.saved == changes {
		b.mu.Unlock()
		return Record{}, false
	}
	counts := p.copy()
	b.mu.Unlock()
	saved := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.saved = changes
		b.dropSaved()
	}
	return Record{Key: DayKey(b.app, p.day), Data: counts.encode(), saved: saved}, true
}

// month is day for months. Most counts do not change the sketch, so that there is nothing to save.
func (b *book) month(p *monthPage) (Record, bool) {
	b.mu.Lock()
	changes := p.changes
	if !p.restored || p.saved == changes {
		b.mu.Unlock()
		return Record{}, false
	}
	devices := p.devices.clone()
	b.mu.Unlock()
	data := devices.encode()
	digest := sha256.Sum256(data)
	saved := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.saved, p.last = changes, digest
		b.dropSaved()
	}
	b.mu.Lock()
	same := digest == p.last
	b.mu.Unlock()
	if same {
		saved()
		return Record{}, false
	}
	active := devices.Count()
	b.mu.Lock()
	if p == b.months.now {
		b.active = active
	}
	b.mu.Unlock()
	return Record{Key: MonthKey(b.app, p.month), Data: data, saved: saved}, true
}
