// Package choices keeps which channels devices have chosen for themselves, and spreads that through a fleet.
//
// The life of a choice: a device chooses a channel at one node, which makes it durable together with what others choose
// at the same moment, numbers it in its [Journal] and announces the number. The other nodes read the journal from where
// they were. A device that has chosen, and asks for updates later, confirms its choice by that.
//
// The invariant: of two choices of a device the later one counts, on every node alike; and however many devices are
// invented, an app has a bounded number of choices, and those of devices that came back stay.
package choices

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"brink/channel"
	"brink/store"
)

// Bounds of what is kept of the choices of devices. Nothing proves that a device exists, so an app has so many and no
// more; they are those of plugins before x.34, which keep none themselves.
const (
	maxChoices    = 100_000
	choiceLasts   = 90 * 24 * time.Hour
	choicePause   = 50 * time.Millisecond // between two synced writes, however many devices choose
	confirmEvery  = 10 * time.Second      // how often confirmations are written if nothing else is
	choiceBatch   = 500                   // choices in one write; with what gives way to them, half of the store's bound
	confirmBatch  = 400                   // confirmations in one write
	choiceVictims = 16 << 10              // choices that are known to give way next, so that not each one needs a search
	maxDevice     = 128                   // bytes of a device's ID, from wherever it comes
)

// kind begins the keys of choices in the store: the kind, the app, the device. Capgo's plugin was the first with
// devices that choose, and the keys have kept its name.
const kind = "capgo/"

// Choices keeps which channels devices have chosen. In RAM are how many there are of each app, what is about to be
// written, and in a fleet the latest changes, see [Journal].
//
// When an app has too many, one gives way to the next: the oldest of a device that has never asked for updates after it
// has chosen, which is what invented devices do, and only then the oldest of all.
type Choices struct {
	store *store.Store
	now   func() time.Time
	most  int // of one app
	// changed, if set, is told of what was chosen here, after it is durable. It must not block.
	changed func(noted)

	writing sync.Mutex // one write after the other; locked before mu

	mu        sync.Mutex // guards the rest
	batch     *choiceWrite
	inFlight  *choiceWrite              // is being written
	last      time.Time                 // write
	confirmed map[string]bool           // keys of choices whose devices have asked, that are not written yet
	count     map[string]int            // by app; those of one are counted when it is first needed
	victims   map[string][]choiceVictim // by app, the next one first
}

// choiceWrite is what is written together.
type choiceWrite struct {
	states map[string]*choice // nil: is removed
	due    bool               // somebody sees to it that it is written
	done   chan struct{}      // closed when err is set
	err    error
}

// choiceVictim is a choice that gives way, unless it has changed since.
type choiceVictim struct {
	key       string
	since     time.Time
	confirmed bool
}

// New returns the choices that a store has. Run them.
func New(s *store.Store, now func() time.Time) *Choices {
	return &Choices{
		store: s, now: now, most: maxChoices,
		confirmed: map[string]bool{}, count: map[string]int{}, victims: map[string][]choiceVictim{},
	}
}

// choice is what is kept of one. An empty channel says that the device has taken its choice back: other nodes have to
// learn that too.
type choice struct {
	Channel   string    `json:"channel,omitempty"`
	Since     time.Time `json:"since"`
	Confirmed bool      `json:"confirmed,omitempty"` // the device has asked for updates since
}

// compare orders two choices of a device: the later one counts, and of two at the same moment the one that comes later
// in the alphabet, so that all nodes of a fleet pick the same.
func (c choice) compare(other choice) int {
	return cmp.Or(c.Since.Compare(other.Since), strings.Compare(c.Channel, other.Channel))
}

var errTooManyChoices = errors.New("too many devices choose a channel at the same time")

// Chosen returns the channel that a device has chosen, or "". It waits for nothing. Whoever asks has asked for updates,
// so that the choice is worth more from now on.
func (c *Choices) Chosen(app, device string) string {
	key := kind + app + "/" + device
	c.mu.Lock()
	defer c.mu.Unlock()
	one, _ := c.find(key)
	if one.Channel != "" && !one.Confirmed && len(c.confirmed) < choiceVictims {
		c.confirmed[key] = true
	}
	return one.Channel
}

// find returns the choice under a key that has not ended, and whether there is anything under the key. The caller holds
// mu.
func (c *Choices) find(key string) (one choice, kept bool) {
	if state, ok := c.unwritten(key); ok {
		if state == nil {
			return choice{}, false
		}
		return *state, true
	}
	raw, err := c.store.State(key)
	if err != nil {
		return choice{}, false
	}
	if json.Unmarshal(raw, &one) != nil || c.now().Sub(one.Since) > choiceLasts {
		return choice{}, true
	}
	return one, true
}

// unwritten returns what is about to be written under a key; nil: it is removed. The caller holds mu.
func (c *Choices) unwritten(key string) (state *choice, found bool) {
	for _, w := range []*choiceWrite{c.batch, c.inFlight} {
		if w != nil && !found {
			state, found = w.states[key]
		}
	}
	return state, found
}

// Choose keeps the channel that a device has chosen; "" takes its choice back. It is durable on return.
func (c *Choices) Choose(app, device, name string) error {
	key := kind + app + "/" + device
	c.mu.Lock()
	before, kept := c.find(key)
	if name == "" && before.Channel == "" || name == before.Channel && c.now().Sub(before.Since) < choiceLasts/2 {
		c.mu.Unlock()
		return nil
	}
	one := choice{Channel: name, Since: c.now().UTC().Truncate(time.Millisecond), Confirmed: before.Confirmed}
	if one.compare(before) <= 0 {
		one.Since = before.Since.Add(time.Millisecond) // another node's clock goes ahead of this one's
	}
	w, err := c.put(app, key, one, kept)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	lead := !w.due
	w.due = true
	pause := choicePause - c.now().Sub(c.last)
	c.mu.Unlock()
	if lead {
		// Others join meanwhile: it is synced, and any device may ask for it.
		if pause > 0 {
			<-time.After(min(pause, choicePause))
		}
		c.write(w)
	}
	<-w.done
	if w.err == nil && c.changed != nil {
		c.changed(noted{App: app, Device: device, choice: one})
	}
	return w.err
}

// take keeps what was chosen at another node, unless something later was chosen since. It is durable after flush.
func (c *Choices) take(one noted) error {
	if err := errors.Join(channel.CheckApp(one.App), one.check()); err != nil {
		return err
	}
	if latest := c.now().Add(time.Hour); one.Since.After(latest) {
		one.Since = latest // a clock that is wrong must not keep a device where it is for ever
	}
	key := kind + one.App + "/" + one.Device
	c.mu.Lock()
	before, kept := c.find(key)
	if kept && one.compare(before) <= 0 || c.now().Sub(one.Since) > choiceLasts {
		c.mu.Unlock()
		return nil
	}
	w, err := c.put(one.App, key, one.choice, kept)
	full := err == nil && len(w.states) >= choiceBatch
	c.mu.Unlock()
	if full || errors.Is(err, errTooManyChoices) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if errors.Is(err, errTooManyChoices) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err = c.put(one.App, key, one.choice, kept)
	}
	return err
}

// put adds a choice to what is written next. The caller holds mu.
func (c *Choices) put(app, key string, one choice, kept bool) (*choiceWrite, error) {
	if c.batch == nil {
		c.batch = &choiceWrite{states: map[string]*choice{}, done: make(chan struct{})}
	}
	w := c.batch
	if len(w.states) >= 2*choiceBatch {
		return nil, errTooManyChoices
	}
	if !kept {
		had := c.of(app)
		if had >= c.most {
			w.states[c.giveWay(app)] = nil
			had--
		}
		c.count[app] = had + 1
	}
	w.states[key] = &one
	return w, nil
}

// flush writes what is to be written.
func (c *Choices) flush() error {
	c.mu.Lock()
	w := c.batch
	if w == nil && len(c.confirmed) > 0 {
		w = &choiceWrite{states: map[string]*choice{}, done: make(chan struct{})}
		c.batch = w
	}
	c.mu.Unlock()
	if w == nil {
		return nil
	}
	c.write(w)
	<-w.done
	return w.err
}

// write writes a batch, unless somebody has.
func (c *Choices) write(w *choiceWrite) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if c.batch != w {
		c.mu.Unlock()
		return
	}
	left := confirmBatch
	for key := range c.confirmed {
		if left--; left < 0 {
			break
		}
		delete(c.confirmed, key)
		if one, kept := c.find(key); kept && one.Channel != "" {
			one.Confirmed = true
			w.states[key] = &one
		}
	}
	c.batch, c.inFlight, c.last = nil, w, c.now()
	c.mu.Unlock()
	states := make(map[string][]byte, len(w.states))
	for key, one := range w.states {
		states[key] = nil
		if one != nil {
			raw, err := json.Marshal(one)
			w.err = errors.Join(w.err, err)
			states[key] = raw
		}
	}
	if w.err == nil {
		w.err = c.store.PutState(context.Background(), states)
	}
	c.mu.Lock()
	c.inFlight = nil
	if w.err != nil {
		clear(c.count) // they are counted again
	}
	c.mu.Unlock()
	close(w.done)
}

// Run writes now and then what nobody waits for, and all of it at the end.
func (c *Choices) Run(ctx context.Context) {
	ticker := time.NewTicker(confirmEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = c.flush() // devices ask again
		case <-ctx.Done():
			_ = c.flush() // likewise
			return
		}
	}
}

// of returns how many choices of an app there are. The caller holds mu.
func (c *Choices) of(app string) int {
	n, counted := c.count[app]
	if !counted {
		for range c.store.States(kind + app + "/") {
			n++
		}
		c.count[app] = n
	}
	return n
}

// giveWay returns the key of the choice of an app that is removed for a new one. The caller holds mu.
func (c *Choices) giveWay(app string) string {
	for range 2 {
		for len(c.victims[app]) > 0 {
			v := c.victims[app][0]
			c.victims[app] = c.victims[app][1:]
			one, kept := c.find(v.key)
			if kept && one.Since.Equal(v.since) && (v.confirmed || !one.Confirmed && !c.confirmed[v.key]) {
				return v.key
			}
		}
		c.victims[app] = c.findVictims(app)
	}
	return kind + app + "/" // there is none, and nothing is under this key
}

// findVictims looks through the choices of an app for those that give way next. The caller holds mu.
func (c *Choices) findVictims(app string) []choiceVictim {
	var list []choiceVictim
	add := func(key string, one choice) {
		list = append(list, choiceVictim{key: key, since: one.Since, confirmed: one.Confirmed || c.confirmed[key]})
	}
	for _, w := range []*choiceWrite{c.batch, c.inFlight} {
		if w == nil {
			continue
		}
		for key := range w.states {
			if one, kept := c.find(key); kept && strings.HasPrefix(key, kind+app+"/") {
				add(key, one) // one that is in both comes twice, which giveWay finds out
			}
		}
	}
	for key, raw := range c.store.States(kind + app + "/") {
		if _, changed := c.unwritten(key); changed {
			continue
		}
		var one choice
		if json.Unmarshal(raw, &one) != nil || c.now().Sub(one.Since) > choiceLasts {
			one = choice{} // find says the same of it
		}
		add(key, one)
	}
	slices.SortFunc(list, func(a, b choiceVictim) int {
		switch {
		case a.confirmed == b.confirmed:
			return cmp.Or(a.since.Compare(b.since), strings.Compare(a.key, b.key))
		case a.confirmed:
			return 1
		}
		return -1
	})
	first := slices.IndexFunc(list, func(v choiceVictim) bool { return v.confirmed })
	switch {
	case first > 0:
		list = list[:first] // none of the others before there are no more of these
	case first == 0:
		list = list[:1+len(list)/16]
	}
	return slices.Clone(list[:min(len(list), choiceVictims)])
}
