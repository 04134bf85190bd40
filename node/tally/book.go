package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
)

// book is what is counted of one app now: the page of the day and that of the month, and those before them until they
// are kept.
type book struct {
	app    string
	number int // how many books there were before it

	mu     sync.Mutex // guards all below
	class  [ClassCount]uint64
	active uint64 // see Activity.Devices
	seen   seen
	days   struct{ now, former *dayPage }
	months struct{ now, former *monthPage }
}

func newBook(app string, number int) *book { return &book{app: strings.Clone(app), number: number} }

// today opens the pages of today, if they are not open, and returns that of the day. A clock that goes back changes
// nothing until it has caught up. The caller holds mu.
func (b *book) today(t *Tally) *dayPage {
	day := DayOf(t.config.Now())
	if b.days.now != nil && day <= b.days.now.day {
		return b.days.now
	}
	// A page that could not be kept for a whole day is let go: what waits must not grow.
	b.days.former, b.days.now = b.days.now, newDayPage(day)
	b.seen = seen{}
	if month := day.Month(); b.months.now == nil || month > b.months.now.month {
		b.months.former, b.months.now = b.months.now, &monthPage{month: month, devices: newDevices()}
		b.active = 0
	}
	return b.days.now
}

// turn lets go of former pages that are kept as they are. The caller holds mu.
func (b *book) turn() {
	if p := b.days.former; p != nil && p.clean() {
		b.days.former = nil
	}
	if p := b.months.former; p != nil && p.clean() {
		b.months.former = nil
	}
}

// keeping is how far a page is kept.
type keeping struct {
	changes uint64 // so far
	kept    uint64 // of them, those that are kept
	adopted bool   // what was kept before the page was opened is part of it
}

func (k *keeping) clean() bool { return k.adopted && k.kept == k.changes }

// dayPage is what was counted on a day.
type dayPage struct {
	keeping
	day Day
	// counts has pointers, for writing to a key of a map that is there already replaces the key: it would then hold on
	// to the bytes of a request.
	counts   map[Cell]*uint64
	versions map[string]struct{} // in counts, but "" and Other
	actions  map[string]struct{} // in counts that are not known
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

// add counts n of a cell, under Other where its names are over the bounds.
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

// admit returns the cell under which c counts, and notes its names.
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
	room := MaxCells - 1 // one for the last resort
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

// adopt puts what was kept of the day before what was counted since.
func (p *dayPage) adopt(t *Tally, app string, kept Counts) {
	since := p.counts
	fresh := newDayPage(p.day)
	for c, n := range kept {
		fresh.add(t, app, c, n)
	}
	for c, n := range since {
		fresh.add(t, app, c, *n)
	}
	fresh.changes = p.changes
	fresh.adopted = true
	*p = *fresh
}

func (p *dayPage) copy() Counts {
	counts := make(Counts, len(p.counts))
	for c, n := range p.counts {
		counts[c] = *n
	}
	return counts
}

// popular returns the version that was seen most, among those that are asked about.
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

// monthPage is which devices were active in a month.
type monthPage struct {
	keeping
	month   Month
	devices *Devices
	last    [sha256.Size]byte // digest of what was kept last
}

func (p *monthPage) add(hash uint64) {
	p.changes++
	p.devices.add(hash)
}

// seen remembers, roughly, which devices have been seen today: one bit for each, which some share. It takes 8 KiB
// however many there are.
type seen [1 << 16 / 64]uint64

// add reports whether the device was not there yet.
func (s *seen) add(hash uint64) bool {
	bit := hash & (1<<16 - 1)
	word, mask := &s[bit/64], uint64(1)<<(bit%64)
	if *word&mask != 0 {
		return false
	}
	*word |= mask
	return true
}

// maxHashed is how many bytes of an ID tell devices from each other.
const maxHashed = 256

// hashOf returns what a device counts as. It is the same on every node, differs from app to app, and does not lead back
// to the ID.
func hashOf(app, device string) uint64 {
	var buffer [MaxApp + 1 + maxHashed]byte
	n := copy(buffer[:MaxApp], app)
	buffer[n] = 0 // no app has it in its name
	n++
	n += copy(buffer[n:n+maxHashed], device)
	sum := sha256.Sum256(buffer[:n])
	return binary.LittleEndian.Uint64(sum[:8])
}
