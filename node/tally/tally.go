// Package tally counts checks and events of devices per app, version, action and day, and the active devices per month.
//
// The life of one count: [Tally.Check] or [Tally.Event] finds the app's book, opens the page of the day if the day has
// changed, and increments a counter, and adds the device to the month's sketch. The node gets changed pages from
// [Tally.Changes], saves them, and confirms that with [Tally.Saved]. It passes pages that were saved by an earlier
// process to [Tally.Restore] once, so that counting continues from there. A [Snapshot] of an app has the pages in
// memory and the saved ones; snapshots of many nodes can be merged, and [Snapshot.Sum] adds them up.
//
// The invariants: input from devices can neither grow a book beyond its bounds nor displace the node's own counts and
// versions that publishers have named; incrementing an existing counter does not allocate; and snapshots can be merged
// in any order and repeatedly, because every node counts only its own requests.
//
// The package uses only the given clock, and neither network nor disk.
package tally

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what is counted. The book of an app takes about 190 kB of memory with all of them reached, and 12 kB with a
// few versions and devices.
const (
	// MaxApps is how many apps are counted at the same time.
	MaxApps = 500
	// MaxVersions is how many versions a page counts by name; further ones count as [Other].
	MaxVersions = 64
	// MaxUnknownVersions is how many of them may be versions that no channel of the app names.
	MaxUnknownVersions = 24
	// MaxUnknownActions is how many actions a page counts by name in addition to [KnownActions].
	MaxUnknownActions = 32
	// MaxCells is how many pairs of version and action a page has.
	MaxCells = 2048
	// ownCells of them are reserved for the node's own counts: six actions for each version.
	ownCells = (MaxVersions + 2) * 8
)

// Other is the version and the action of counts that exceed the bounds, or whose names are invalid.
const Other = "other"

// Config says what may be counted.
type Config struct {
	// Claimed reports whether an app may be counted; required. It is called until it returns true, possibly for every
	// request, so it must be cheap. It must not call the Tally.
	Claimed func(app string) bool
	// Known reports whether a channel of the app names the version; required. It is called when a version is counted for
	// the first time on a day. It must not call the Tally.
	Known func(app, version string) bool
	// Now is the clock; nil: time.Now. Days and months are those of UTC.
	Now func() time.Time
}

// Validate reports missing functions.
func (c *Config) Validate() error {
	if c.Claimed == nil || c.Known == nil {
		return errors.New("tally: Claimed and Known are required")
	}
	return nil
}

// Tally counts. Use [New]. All methods are safe for concurrent use.
type Tally struct {
	config  Config
	known   map[string]Class // known actions; never changed
	changed chan struct{}    // see Changed
	dropped atomic.Uint64

	mu    sync.RWMutex // guards books
	books map[string]*book
}

// New returns a Tally that has counted nothing.
func New(config Config) (*Tally, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Tally{
		config:  config,
		known:   KnownActions(),
		changed: make(chan struct{}, 1),
		books:   map[string]*book{},
	}, nil
}

// Event is an event that a device reports.
type Event struct {
	App     string
	Version string // that the action is about; "" if it is unknown
	// OldVersion is the version that the device ran before, for the action "set": it counts as uninstalled.
	OldVersion string
	Action     string // ^[A-Za-z0-9_]{1,64}$; others count as [Other]
	Device     string // ID, the same for as long as the app is installed; "": unknown
}

// Event counts an event. It counts for the current day, not for the time that the device reports: clocks of devices are
// wrong, and events may be delayed for weeks.
func (t *Tally) Event(e Event) {
	b := t.book(e.App)
	if b == nil {
		return
	}
	action := e.Action
	if !isAction(action) {
		action = Other
	}
	hash := hashOf(e.App, e.Device)
	b.mu.Lock()
	p := b.today(t)
	b.class[t.class(action)]++
	p.add(t, e.App, Cell{Version: versionName(e.Version), Action: action}, 1)
	if action == "set" && e.OldVersion != "" && e.OldVersion != e.Version {
		p.add(t, e.App, Cell{Version: versionName(e.OldVersion), Action: "uninstall"}, 1)
	}
	if e.Device != "" {
		b.months.now.add(hash)
	}
	b.mu.Unlock()
	t.notify()
}

// Check counts a check for updates of a device, with the version that it runs ("" if unknown) and the outcome. It does
// not allocate if the device and the version have been counted before.
func (t *Tally) Check(app, version string, outcome Outcome, device string) {
	b := t.book(app)
	if b == nil {
		return
	}
	hash := hashOf(app, device)
	version = versionName(version)
	b.mu.Lock()
	p := b.today(t)
	b.class[ClassCheck]++
	p.add(t, app, Cell{Version: version, Action: outcome.action()}, 1)
	if device != "" {
		b.months.now.add(hash)
		if version != "" && b.seen.add(hash) {
			p.add(t, app, Cell{Version: version, Action: Seen}, 1)
		}
	}
	b.mu.Unlock()
	t.notify()
}

// Popular returns the version that most devices were seen to run today, among those that among accepts. If none was
// seen today, the day before counts; if none was seen then either, ok is false. It counts a sample, see [Seen].
func (t *Tally) Popular(app string, among func(version string) bool) (version string, ok bool) {
	t.mu.RLock()
	b := t.books[app]
	t.mu.RUnlock()
	if b == nil {
		return "", false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if version, ok = b.days.now.popular(among); !ok && b.days.former != nil {
		version, ok = b.days.former.popular(among)
	}
	return version, ok
}

// Open opens a book for the app, so that [Tally.Missing] lists it before anything is counted.
func (t *Tally) Open(app string) {
	if b := t.book(app); b != nil {
		b.mu.Lock()
		b.today(t)
		b.mu.Unlock()
	}
}

// Changed returns a channel that receives a value after something was counted. It must have only one receiver.
func (t *Tally) Changed() <-chan struct{} { return t.changed }

func (t *Tally) notify() {
	if len(t.changed) > 0 {
		return
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Dropped returns how many events and checks were not counted, because [MaxApps] were counted already.
func (t *Tally) Dropped() uint64 { return t.dropped.Load() }

// book returns the book of an app, nil if it is not to be counted.
func (t *Tally) book(app string) *book {
	t.mu.RLock()
	b := t.books[app]
	t.mu.RUnlock()
	if b != nil || !appName(app) || !t.config.Claimed(app) {
		return b
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.books[app]; b != nil {
		return b
	}
	if len(t.books) >= MaxApps {
		t.dropped.Add(1)
		return nil
	}
	b = newBook(app, len(t.books))
	t.books[b.app] = b
	return b
}

// all returns the books in the order in which they were begun.
func (t *Tally) all() []*book {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*book, 0, len(t.books))
	for _, b := range t.books {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b *book) int { return cmp.Compare(a.number, b.number) })
	return list
}

func (t *Tally) class(action string) Class {
	if class, ok := t.known[action]; ok {
		return class
	}
	return ClassOther
}

// Activity is what an app was counted for since the process began, and the devices of this month.
type Activity struct {
	App string
	// Classes is how often each class of actions was counted.
	Classes [ClassCount]uint64
	// Devices estimates the devices that were active this month, as of the last [Tally.Changes].
	Devices uint64
}

// Activity returns what each app was counted for, in the order in which they were first counted.
func (t *Tally) Activity() []Activity {
	books := t.all()
	list := make([]Activity, len(books))
	for i, b := range books {
		b.mu.Lock()
		list[i] = Activity{App: b.app, Classes: b.class, Devices: b.active}
		b.mu.Unlock()
	}
	return list
}
