package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
)

// book is the counts of one app: the pages of the current day and month, and the ones before until they are saved.
type book struct {
	app    string
	number int // of books that were opened before it

	mu     sync.Mutex // guards all below
	class  [ClassCount]uint64
	active uint64 // see Activity.Devices
	seen   seen
	days   struct{ now, former *dayPage }
	months struct{ now, former *monthPage }
}

func newBook(app string, number int) *book { return &book{app: strings.Clone(app), number: number} }

// today returns the page of the day, and opens it and that of the month if necessary. If the clock goes back, the pages
// stay until it has caught up. The caller holds mu.
func (b *book) today(t *Tally) *dayPage {
	day := DayOf(t.config.Now())
	if b.days.now != nil && day <= b.days.now.day {
		return b.days.now
	}
	// A page that could not be saved for a whole day is dropped, so that memory is bounded.
	b.days.former, b.days.now = b.days.now, newDayPage(day)
	b.seen = seen{}
	if month := day.Month(); b.months.now == nil || month > b.months.now.month {
		b.months.former, b.months.now = b.months.now, &monthPage{month: month, devices: newDevices()}
		b.active = 0
	}
	return b.days.now
}

// dropSaved drops former pages that are saved. The caller holds mu.
func (b *book) dropSaved() {
	if p := b.days.former; p != nil && p.clean() {
		b.days.former = nil
	}
	if p := b.months.former; p != nil && p.clean() {
		b.months.former = nil
	}
}

// saving is how much of a page is saved.
type saving struct {
	changes  uint64 // so far
	saved    uint64 // of the changes
	restored bool   // whether the page includes what was saved before it was opened
}

func (s *saving) clean() bool { return s.restored && s.saved == s.changes }

// dayPage is the counts of a day.
type dayPage struct {
	saving
	day Day
	// counts has pointers, so that incrementing does not assign to the map: that would replace the key, and keep the
	// bytes of the request in memory.
	counts   map[Cell]*uint64
	versions map[string]struct{} // in counts, without "" and Other
	actions  map[string]struct{} // in counts, without known ones
	unknown  int                 // of the versions
}

func newDayPage(day Day) *dayPage {
	return &dayPage{
		day:      day,
		counts:   map[Cell]*uint64{},
		versions: map[string]struct{}{},
		actions:  map[string]struct{}{},
	}
}

// add adds n to the count of a cell, as Other if its names exceed the bounds.
func (p *dayPage) add(t *Tally, app string, c Cell, n uint64) {
	p.changes++
	count := p.counts[c]
	if count == nil {
		c = p.admit(t, app, c)
		if count = p.counts[c]; count == nil {
			count = new(uint64)
			p.counts[Cell{Version: strings.Clone(c.Version), Action: strings.Clone(c.Action)}] = count
		}
	}
	*count = sum(*count, n)
}

// admit returns the cell as which c counts, and records its names.
func (p *dayPage) admit(t *Tally, app string, c Cell) Cell {
	_, newVersion := p.versions[c.Version]
	newVersion = !newVersion && c.Version != "" && c.Version != Other
	unknown := newVersion && !t.config.Known(app, c.Version)
	if newVersion && (len(p.versions) >= MaxVersions || unknown && p.unknown >= MaxUnknownVersions) {
		c.Version, newVersion, unknown = Other, false, false
	}
	_, known := t.known[c.Action]
	_, there := p.actions[c.Action]
	newAction := !known && !there
	if newAction && len(p.actions) >= MaxUnknownActions {
		c.Action, newAction = Other, false
	}
	if p.counts[c] != nil {
		return c
	}
	room := MaxCells - 1 // one is for Other
	if isAction(c.Action) {
		room -= ownCells
	}
	if len(p.counts) >= room {
		return Cell{Version: Other, Action: Other}
	}
	if newVersion {
		p.versions[strings.Clone(c.Version)] = struct{}{}
	}
	if unknown {
		p.unknown++
	}
	if newAction {
		p.actions[strings.Clone(c.Action)] = struct{}{}
	}
	return c
}

// restore adds the saved counts of the day. They are first in the order for the bounds.
func (p *dayPage) restore(t *Tally, app string, saved Counts) {
	since := p.counts
	fresh := newDayPage(p.day)
	for c, n := range saved {
		fresh.add(t, app, c, n)
	}
	for c, n := range since {
		fresh.add(t, app, c, *n)
	}
	fresh.changes = p.changes
	fresh.restored = true
	*p = *fresh
}

func (p *dayPage) copy() Counts {
	counts := make(Counts, len(p.counts))
	for c, n := range p.counts {
		counts[c] = *n
	}
	return counts
}

// popular returns the version that was seen most, among those that among accepts.
func (p *dayPage) popular(among func(version string) bool) (version string, ok bool) {
	var most uint64
	for c, n := range p.counts {
		if c.Action != Seen || c.Version == "" || c.Version == Other || !among(c.Version) {
			continue
		}
		if *n > most || *n == most && c.Version > version {
			version, most, ok = c.Version, *n, true
		}
	}
	return version, ok
}

// monthPage is the active devices of a month.
type monthPage struct {
	saving
	month   Month
	devices *Devices
	last    [sha256.Size]byte // digest of the last saved state
}

func (p *monthPage) add(hash uint64) {
	p.changes++
	p.devices.add(hash)
}

// seen is an approximate set of the devices seen today: one bit for each hash, which several devices may share, in 8
// KiB.
type seen [1 << 16 / 64]uint64

// add adds a device, and reports whether it was not in the set.
func (s *seen) add(hash uint64) bool {
	bit := hash & (1<<16 - 1)
	word, mask := &s[bit/64], uint64(1)<<(bit%64)
	if *word&mask != 0 {
		return false
	}
	*word |= mask
	return true
}

// maxHashed is how many bytes of an ID are significant.
const maxHashed = 256

// hashOf returns the hash by which a device is counted. It is the same on every node, differs between apps, and the ID
// cannot be recovered from it.
func hashOf(app, device string) uint64 {
	var buffer [MaxApp + 1 + maxHashed]byte
	n := copy(buffer[:MaxApp], app)
	buffer[n] = 0 // never part of the name of an app
	n++
	n += copy(buffer[n:n+maxHashed], device)
	sum := sha256.Sum256(buffer[:n])
	return binary.LittleEndian.Uint64(sum[:8])
}
