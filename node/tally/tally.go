// Package tally counts what devices do: per app, version, action and day, and how many devices are active in a month.
//
// The life of one count: [Tally.Check] or [Tally.Event] finds the app's book, opens the page of the day if the day has
// changed, adds one to a counter and the device to the month's sketch. The node asks for what has changed
// ([Tally.Changes]), keeps it, and says so ([Tally.Kept]). What it kept before, it hands in once ([Tally.Adopt]), so
// that a page goes on where it ended. To look at an app, the pages in memory and those that were kept are put together
// as a [Snapshot]; snapshots of many nodes are merged, and [Snapshot.Sum] adds them up.
//
// The invariants: what devices send can neither grow a book beyond its bounds nor crowd out what the node counts itself
// and what publishers have named; a count of something that was counted before allocates nothing; and the order and the
// number of times in which snapshots are merged change no sum, for every node counts only what came to it.
//
// The package reaches no clock but the one that it was given, no network and no disk.
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
	// MaxVersions is how many versions a page has under their own names; the rest count under [Other].
	MaxVersions = 64
	// MaxUnknownVersions is how many of them may be versions that no channel of the app names.
	MaxUnknownVersions = 24
	// MaxUnknownActions is how many actions a page has under their own names beside those that are known.
	MaxUnknownActions = 32
	// MaxCells is how many pairs of version and action a page has.
	MaxCells = 2048
	// ownCells of them are kept for what the node counts itself: six actions for each version.
	ownCells = (MaxVersions + 2) * 8
)

// Other is the version and the action of what is over the bounds, or has no name that can be written.
const Other = "other"

// Config says what may be counted.
type Config struct {
	// Claimed reports whether an app may be counted; required. It is asked when an app is counted for the first time,
	// and again for as long as it says no, so it must be cheap. It must not call the Tally.
	Claimed func(app string) bool
	// Known reports whether a channel of the app names the version; required. It is asked when a version is counted for
	// the first time on a day. It must not call the Tally.
	Known func(app, version string) bool
	// Now is the clock; nil: time.Now. Days and months are those of UTC.
	Now func() time.Time
}

// Validate reports what is wrong with the Config.
func (c *Config) Validate() error {
	if c.Claimed == nil || c.Known == nil {
		return errors.New("tally: it must be said which apps and versions are known")
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

// Event is what a device says that it did.
type Event struct {
	App     string
	Version string // that the action is about; "" if it is not known
	// OldVersion is what the device ran before, for the action "set": that version counts as uninstalled.
	OldVersion string
	Action     string // ^[A-Za-z0-9_]{1,64}$; others count under [Other]
	Device     string // the same for as long as the app is installed; "": it cannot be told from others
}

// Event counts what a device says that it did. It counts on the day on which it is called, whatever the device says:
// clocks of devices are wrong, and events can be held back for weeks.
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
	t.wake()
}

// Check counts that a device asked whether there is something new: what it runs, "" if it does not say, and what came
// of it. It allocates nothing when the device and the version have been counted before.
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
	t.wake()
}

// Popular returns the version that most devices were seen to run today, among those that it is asked about; before
// anybody was seen today, that of the day before. ok is false if none of them was seen. It counts a sample, see [Seen].
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

// Open begins a book for the app, so that it is listed by [Tally.Missing] before anything is counted.
func (t *Tally) Open(app string) {
	if b := t.book(app); b != nil {
		b.mu.Lock()
		b.today(t)
		b.mu.Unlock()
	}
}

// Changed is sent to when something was counted since it was last received from. It has one receiver.
func (t *Tally) Changed() <-chan struct{} { return t.changed }

func (t *Tally) wake() {
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
