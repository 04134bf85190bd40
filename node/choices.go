package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"brink/channel"
	"brink/store"
)

// Bounds of what is kept of the choices of devices. Nothing proves that a device exists, so an app has so many and no
// more; they are those of plugins before x.34, which keep none themselves.
const (
	maxChoices   = 100_000
	choiceLasts  = 90 * 24 * time.Hour
	choiceSweeps = time.Hour // how often at most those that have ended are looked for, once an app has too many
	maxDevice    = 128       // bytes of a device's ID, from wherever it comes
)

// choiceKind begins the keys of choices: the kind, the app, the device.
const choiceKind = "capgo/"

// choices keeps which channels devices have chosen. Nothing of it is in RAM but how many there are of each app, and in
// a fleet the latest changes, see journal.
type choices struct {
	store *store.Store
	now   func() time.Time
	// changed, if set, is told of what was chosen here, after it is durable. It must not block.
	changed func(noted)

	mu    sync.Mutex
	count map[string]int       // by app; those of one are counted when it is first needed
	swept map[string]time.Time // when those of an app were last looked through
}

func newChoices(s *store.Store, now func() time.Time) *choices {
	return &choices{store: s, now: now, count: map[string]int{}, swept: map[string]time.Time{}}
}

// choice is what is kept of one. An empty channel says that the device has taken its choice back: other nodes have to
// learn that too.
type choice struct {
	Channel string    `json:"channel,omitempty"`
	Since   time.Time `json:"since"`
}

// compare orders two choices of a device: the later one counts, and of two at the same moment the one that comes later
// in the alphabet, so that all nodes of a fleet pick the same.
func (c choice) compare(other choice) int {
	return cmp.Or(c.Since.Compare(other.Since), strings.Compare(c.Channel, other.Channel))
}

var errTooManyChoices = errors.New("too many devices of the app have chosen a channel")

// Chosen implements capgo.Choices.
func (c *choices) Chosen(app, device string) string {
	one, _ := c.find(choiceKind + app + "/" + device)
	return one.Channel
}

// find returns the choice under a key that has not ended, and whether there is anything under the key.
func (c *choices) find(key string) (one choice, kept bool) {
	raw, err := c.store.State(key)
	if err != nil {
		return choice{}, false
	}
	if json.Unmarshal(raw, &one) != nil || c.now().Sub(one.Since) > choiceLasts {
		return choice{}, true
	}
	return one, true
}

// Choose implements capgo.Choices.
func (c *choices) Choose(app, device, name string) error {
	key := choiceKind + app + "/" + device
	c.mu.Lock()
	defer c.mu.Unlock()
	before, kept := c.find(key)
	switch {
	case name == "" && before.Channel == "":
		return nil
	case name == before.Channel && c.now().Sub(before.Since) < choiceLasts/2:
		return nil
	}
	one := choice{Channel: name, Since: c.now().UTC().Truncate(time.Millisecond)}
	if one.compare(before) <= 0 {
		one.Since = before.Since.Add(time.Millisecond) // another node's clock goes ahead of this one's
	}
	if err := c.put(app, key, one, kept); err != nil {
		return err
	}
	if c.changed != nil {
		c.changed(noted{App: app, Device: device, choice: one})
	}
	return nil
}

// take keeps what was chosen at another node, unless something later was chosen since.
func (c *choices) take(one noted) error {
	if err := errors.Join(channel.CheckApp(one.App), one.check()); err != nil {
		return err
	}
	if latest := c.now().Add(time.Hour); one.Since.After(latest) {
		one.Since = latest // a clock that is wrong must not keep a device where it is for ever
	}
	key := choiceKind + one.App + "/" + one.Device
	c.mu.Lock()
	defer c.mu.Unlock()
	before, kept := c.find(key)
	if kept && one.compare(before) <= 0 || c.now().Sub(one.Since) > choiceLasts {
		return nil
	}
	return c.put(one.App, key, one.choice, kept)
}

// put keeps a choice. The caller holds mu.
func (c *choices) put(app, key string, one choice, kept bool) error {
	if !kept && c.of(app) >= maxChoices {
		if err := c.sweep(app); err != nil {
			return err
		}
		if c.of(app) >= maxChoices {
			return errTooManyChoices
		}
	}
	raw, err := json.Marshal(one)
	if err != nil {
		return err
	}
	had := c.of(app)
	if err := c.store.PutState(context.Background(), map[string][]byte{key: raw}); err != nil {
		return err
	}
	if !kept {
		had++
	}
	c.count[app] = had
	return nil
}

// of returns how many choices of an app there are.
func (c *choices) of(app string) int {
	n, counted := c.count[app]
	if !counted {
		for range c.store.States(choiceKind + app + "/") {
			n++
		}
		c.count[app] = n
	}
	return n
}

// sweep removes the choices of an app that have ended.
func (c *choices) sweep(app string) error {
	if c.now().Sub(c.swept[app]) < choiceSweeps {
		return nil
	}
	c.swept[app] = c.now()
	ended := map[string][]byte{}
	for key, raw := range c.store.States(choiceKind + app + "/") {
		var one choice
		if json.Unmarshal(raw, &one) != nil || c.now().Sub(one.Since) > choiceLasts {
			ended[key] = nil
		}
		if len(ended) == store.MaxStates {
			break // the rest has its turn
		}
	}
	had := c.of(app)
	if err := c.store.PutState(context.Background(), ended); err != nil {
		return err
	}
	c.count[app] = had - len(ended)
	return nil
}
