// Package choices stores which channels devices have chosen for themselves, and replicates that through a fleet.
//
// The life of a choice: a device sends the channel that it has chosen to one node. The node makes it durable, together
// with the choices of other devices at the same moment, numbers it in its [Journal] and announces the number. The other
// nodes read the journal from their last position. A device that later checks for updates confirms its choice.
//
// The invariant: of two choices of a device the later one counts, on all nodes. An app has a bounded number of choices,
// however many devices an attacker invents, and confirmed choices are not evicted for those.
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

// Bounds of choices. Nothing proves that a device exists, so their number per app is limited. Only plugins before x.34
// need them; later ones store their choice themselves.
const (
	maxChoices    = 100_000
	choiceLasts   = 90 * 24 * time.Hour
	choicePause   = 50 * time.Millisecond // between two synced writes, however many devices choose
	confirmEvery  = 10 * time.Second      // how often confirmations are written if nothing else is
	choiceBatch   = 500                   // choices in one write; with the evicted ones, half of the store's bound
	confirmBatch  = 400                   // confirmations in one write
	choiceVictims = 16 << 10              // choices found by one search for those to evict next
	maxDevice     = 128                   // bytes of a device's ID, from any source
)

// kind is the prefix of the keys of choices in the store, which are kind, app, slash and device. It is named after
// Capgo's plugin, whose devices were the first to choose.
const kind = "capgo/"

// Choices stores which channels devices have chosen. In RAM it has the number of choices of each app, pending writes,
// and in a fleet the latest changes, see [Journal].
//
// When an app has too many, a new one evicts the oldest of those whose device has never checked for updates since, as
// invented devices do not; if there are none, the oldest of all.
type Choices struct {
	store *store.Store
	now   func() time.Time
	limit int // of one app
	// changed, if set, is called for each choice that was sent to this node, once it is durable. It must not block.
	changed func(entry)

	writing sync.Mutex // serialises writes; locked before mu

	mu        sync.Mutex // guards the rest
	batch     *choiceWrite
	inFlight  *choiceWrite              // is being written
	last      time.Time                 // of the last write
	confirmed map[string]bool           // keys of choices that were confirmed, and not written yet
	count     map[string]int            // by app; counted when it is first needed
	victims   map[string][]choiceVictim // by app, the next one first
}

// choiceWrite is a batch that is written together.
type choiceWrite struct {
	states map[string]*choice // nil: is removed
	due    bool               // a caller of Choose will write it
	done   chan struct{}      // closed when err is set
	err    error
}

// choiceVictim is a choice to evict, unless it has changed since.
type choiceVictim struct {
	key       string
	since     time.Time
	confirmed bool
}

// New returns the choices in a store. Call [Choices.Run] once.
func New(s *store.Store, now func() time.Time) *Choices {
	return &Choices{
		store: s, now: now, limit: maxChoices,
		confirmed: map[string]bool{}, count: map[string]int{}, victims: map[string][]choiceVictim{},
	}
}

// choice is the stored form of a choice. With an empty channel, the device has withdrawn its choice; that is stored
// too, for other nodes.
type choice struct {
	Channel   string    `json:"channel,omitempty"`
	Since     time.Time `json:"since"`
	Confirmed bool      `json:"confirmed,omitempty"` // the device has checked for updates since
}

// compare orders two choices of a device by time, and by name of the channel if the times are equal, so that all nodes
// of a fleet choose the same.
func (c choice) compare(other choice) int {
	return cmp.Or(c.Since.Compare(other.Since), strings.Compare(c.Channel, other.Channel))
}

var errTooManyChoices = errors.New("too many devices choose a channel at the same time")

// Chosen returns the channel that a device has chosen, or "". It does not block. It is called when the device checks
// for updates, so it confirms the choice.
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

// find returns the choice under a key if it has not expired, and whether anything is stored under the key. The caller
// holds mu.
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

// unwritten returns the pending write under a key; nil: the key is removed. The caller holds mu.
func (c *Choices) unwritten(key string) (state *choice, found bool) {
	for _, w := range []*choiceWrite{c.batch, c.inFlight} {
		if w != nil && !found {
			state, found = w.states[key]
		}
	}
	return state, found
}

// Choose stores the channel that a device has chosen; "" withdraws its choice. It is durable on return.
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
		one.Since = before.Since.Add(time.Millisecond) // another node's clock is ahead of this one's
	}
	w, err := c.add(app, key, one, kept)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	lead := !w.due
	w.due = true
	pause := choicePause - c.now().Sub(c.last)
	c.mu.Unlock()
	if lead {
		// Let other choices join the batch: a write is synced, and any device can cause one.
		if pause > 0 {
			<-time.After(min(pause, choicePause))
		}
		c.write(w)
	}
	<-w.done
	if w.err == nil && c.changed != nil {
		c.changed(entry{App: app, Device: device, choice: one})
	}
	return w.err
}

// merge stores a choice from another node, unless a later one is stored. It is durable after flush.
func (c *Choices) merge(one entry) error {
	if err := errors.Join(channel.CheckApp(one.App), one.check()); err != nil {
		return err
	}
	if latest := c.now().Add(time.Hour); one.Since.After(latest) {
		one.Since = latest // a choice from a clock that is ahead must not override later ones for long
	}
	key := kind + one.App + "/" + one.Device
	c.mu.Lock()
	before, kept := c.find(key)
	if kept && one.compare(before) <= 0 || c.now().Sub(one.Since) > choiceLasts {
		c.mu.Unlock()
		return nil
	}
	w, err := c.add(one.App, key, one.choice, kept)
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
		_, err = c.add(one.App, key, one.choice, kept)
	}
	return err
}

// add adds a choice to the next batch. The caller holds mu.
func (c *Choices) add(app, key string, one choice, kept bool) (*choiceWrite, error) {
	if c.batch == nil {
		c.batch = &choiceWrite{states: map[string]*choice{}, done: make(chan struct{})}
	}
	w := c.batch
	if len(w.states) >= 2*choiceBatch {
		return nil, errTooManyChoices
	}
	if !kept {
		had := c.countOf(app)
		if had >= c.limit {
			w.states[c.victim(app)] = nil
			had--
		}
		c.count[app] = had + 1
	}
	w.states[key] = &one
	return w, nil
}

// flush writes the pending batch and confirmations.
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

// write writes a batch, unless it has been written.
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
		clear(c.count) // so that they are counted again
	}
	c.mu.Unlock()
	close(w.done)
}

// Run writes confirmations from time to time, until ctx ends, and then all that is pending.
func (c *Choices) Run(ctx context.Context) {
	ticker := time.NewTicker(confirmEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = c.flush() // on error, devices confirm again
		case <-ctx.Done():
			_ = c.flush() // likewise
			return
		}
	}
}

// countOf returns how many choices an app has. The caller holds mu.
func (c *Choices) countOf(app string) int {
	n, counted := c.count[app]
	if !counted {
		for range c.store.States(kind + app + "/") {
			n++
		}
		c.count[app] = n
	}
	return n
}

// victim returns the key of the choice of an app to evict for a new one. The caller holds mu.
func (c *Choices) victim(app string) string {
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
	return kind + app + "/" // there is none, and this key is never used
}

// findVictims searches the choices of an app for those to evict next. The caller holds mu.
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
				add(key, one) // a key in both is added twice, which victim detects
			}
		}
	}
	for key, raw := range c.store.States(kind + app + "/") {
		if _, changed := c.unwritten(key); changed {
			continue
		}
		var one choice
		if json.Unmarshal(raw, &one) != nil || c.now().Sub(one.Since) > choiceLasts {
			one = choice{} // as find returns it
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
		list = list[:first] // confirmed ones are evicted only once there are no others
	case first == 0:
		list = list[:1+len(list)/16]
	}
	return slices.Clone(list[:min(len(list), choiceVictims)])
}
