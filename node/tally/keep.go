package tally

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

// How long pages are worth keeping: see [Stale].
const (
	KeepDays   = 400 // a year, and the month before for comparison
	KeepMonths = 14
)

// KeyPrefix is what all keys begin with. A key is the prefix, the app, a slash, and the day or the month.
const KeyPrefix = "stats/"

// DayKey returns the key under which a day of an app is kept.
func DayKey(app string, day Day) string { return KeyPrefix + app + "/" + day.String() }

// MonthKey returns the key under which a month of an app is kept.
func MonthKey(app string, month Month) string { return KeyPrefix + app + "/" + month.String() }

// splitKey reads a key. Either the day or the month counts.
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

// Stale reports whether what is kept under key is not worth keeping any more: it is older than [KeepDays] or
// [KeepMonths], or no key of this package.
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

// Missing returns the keys of pages that may have been kept before they were opened here, by a process before this one.
// What is found under each belongs into [Tally.Adopt].
func (t *Tally) Missing() (keys []string) {
	for _, b := range t.all() {
		b.mu.Lock()
		for _, p := range b.dayPages() {
			if !p.adopted {
				keys = append(keys, DayKey(b.app, p.day))
			}
		}
		for _, p := range b.monthPages() {
			if !p.adopted {
				keys = append(keys, MonthKey(b.app, p.month))
			}
		}
		b.mu.Unlock()
	}
	return keys
}

// Adopt puts what was kept under a key of [Tally.Missing] before what was counted since; nil if there was nothing. It
// does so once for each page. What cannot be read counts as nothing, and is told as [ErrMalformed].
func (t *Tally) Adopt(key string, kept []byte) error {
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
	if kept != nil && isDay {
		counts, err = ParseCounts(kept)
	} else if kept != nil {
		devices, err = parseDevices(kept)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", key, err)
		counts, devices = Counts{}, newDevices()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if isDay {
		for _, p := range b.dayPages() {
			if p.day == day && !p.adopted {
				p.adopt(t, app, counts)
			}
		}
		return err
	}
	for _, p := range b.monthPages() {
		if p.month == month && !p.adopted {
			p.devices.Merge(devices)
			p.adopted, p.last = true, sha256.Sum256(kept)
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

// Record is a page as it is to be kept: Data, at most 64 KiB, in place of what is under Key.
type Record struct {
	Key  string
	Data []byte

	kept func() // the page is kept like this
}

// Changes returns the pages that have changed since they were kept last, but those that are [Tally.Missing]. What was
// counted on the same page in the meantime waits for the next call.
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

// Kept says that the records are kept for good.
func (t *Tally) Kept(records []Record) {
	for _, r := range records {
		r.kept()
	}
}

// day returns the record of a page of b, if it is to be kept. Devices wait only while the counters are copied.
func (b *book) day(p *dayPage) (Record, bool) {
	b.mu.Lock()
	changes := p.changes
	if !p.adopted || p.kept == changes {
		b.mu.Unlock()
		return Record{}, false
	}
	counts := p.copy()
	b.mu.Unlock()
	kept := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.kept = changes
		b.turn()
	}
	return Record{Key: DayKey(b.app, p.day), Data: counts.encode(), kept: kept}, true
}

// month is day for months. Most of what is counted changes no sketch, and then there is nothing to keep.
func (b *book) month(p *monthPage) (Record, bool) {
	b.mu.Lock()
	changes := p.changes
	if !p.adopted || p.kept == changes {
		b.mu.Unlock()
		return Record{}, false
	}
	devices := p.devices.clone()
	b.mu.Unlock()
	data := devices.encode()
	digest := sha256.Sum256(data)
	kept := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.kept, p.last = changes, digest
		b.turn()
	}
	b.mu.Lock()
	same := digest == p.last
	b.mu.Unlock()
	if same {
		kept()
		return Record{}, false
	}
	active := devices.Count()
	b.mu.Lock()
	if p == b.months.now {
		b.active = active
	}
	b.mu.Unlock()
	return Record{Key: MonthKey(b.app, p.month), Data: data, kept: kept}, true
}
