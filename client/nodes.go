package client

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A device that is given several nodes asks the one first that began to answer soonest when it was asked last. It gets
// to know them one by one: with each Update it asks one that it does not know.

const (
	// nodesFile holds contacts. It only saves time, and is not synced.
	nodesFile = "nodes.json"
	// measureEvery is how long a measure is good for. Devices move, and so do the routes to nodes.
	measureEvery = 24 * time.Hour
	// leastPenalty is for how long a node goes last that failed where another did not. It doubles with each failure in a
	// row, up to mostPenalty.
	leastPenalty = 10 * time.Minute
	mostPenalty  = 24 * time.Hour
)

// contact is what a device knows of a node from having asked it.
type contact struct {
	Node     string        `json:"node"` // its base URL
	Wait     time.Duration `json:"wait"` // for the beginning of the answer to a check, in nanoseconds
	Measured time.Time     `json:"measured,omitzero"`
	Failed   time.Time     `json:"failed,omitzero"` // the last time; zero if it has done well since
	Failures int           `json:"failures,omitempty"`
}

// rank says in which of the groups a node is: 0 not known, or not well enough; 1 known; 2 to be avoided. Times to come
// are those of a clock that was set back, and count for nothing.
func (c contact) rank(now time.Time) int {
	penalty := mostPenalty
	if c.Failures < 8 { // 2^8 times the least is beyond the most
		penalty = min(leastPenalty<<max(c.Failures-1, 0), mostPenalty)
	}
	within := func(at time.Time, span time.Duration) bool {
		age := now.Sub(at)
		return !at.IsZero() && age >= 0 && age < span
	}
	switch {
	case within(c.Failed, penalty):
		return 2
	case within(c.Measured, measureEvery):
		return 1
	}
	return 0
}

// contacts is what a device knows of its nodes.
type contacts []contact

// of returns what is known of a node.
func (all contacts) of(node string) contact {
	if i := slices.IndexFunc(all, func(c contact) bool { return c.Node == node }); i >= 0 {
		return all[i]
	}
	return contact{Node: node}
}

// order returns the nodes in the order in which to ask them. Those that nothing tells apart stay as they were given.
func (all contacts) order(nodes []string, now time.Time) []string {
	return slices.SortedStableFunc(slices.Values(nodes), func(a, b string) int {
		one, other := all.of(a), all.of(b)
		rank := one.rank(now)
		if c := cmp.Compare(rank, other.rank(now)); c != 0 || rank != 1 {
			return c
		}
		return cmp.Compare(one.Wait, other.Wait)
	})
}

// learn returns what is known after an Update that one of the nodes served: it began to answer after wait, and failed
// are those that had been asked before it.
func (all contacts) learn(nodes []string, served string, wait time.Duration, failed []string, now time.Time) contacts {
	next := make(contacts, len(nodes))
	for i, node := range nodes {
		c := all.of(node)
		switch {
		case node == served:
			c = contact{Node: node, Wait: wait, Measured: now}
		case slices.Contains(failed, node):
			c.Failed, c.Failures = now, min(c.Failures, mostFailures)+1
		}
		next[i] = c
	}
	return next
}

// mostFailures is from where on more make no difference.
const mostFailures = 100

// contacts reads what is known of nodes. Nothing is known if it cannot be read.
func (c *Client) contacts() contacts {
	if len(c.config.Nodes) < 2 {
		return nil
	}
	raw, err := c.root.ReadFile(nodesFile)
	if err != nil {
		return nil
	}
	all, err := decodeContacts(raw)
	if err != nil {
		c.config.Logger.Warn("what is known of nodes cannot be read", "error", err)
	}
	return all
}

func decodeContacts(raw []byte) (contacts, error) {
	if len(raw) > maxState {
		return nil, fmt.Errorf("%s is longer than %d bytes", nodesFile, maxState)
	}
	var all contacts
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", nodesFile, err)
	}
	return all, nil
}

// UnmarshalJSON reads a list one by one and refuses a contact without a node: empty ones take many times their bytes.
func (all *contacts) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return errors.Join(err, errors.New("no list of contacts"))
	}
	*all = nil
	for d.More() {
		var c contact
		if err := d.Decode(&c); err != nil {
			return err
		}
		if c.Node == "" {
			return errors.New("a contact without a node")
		}
		*all = append(*all, c)
	}
	return nil
}

// keep writes what is known of nodes. A device that can not only asks them in a worse order.
func (c *Client) keep(all contacts) {
	const fresh = nodesFile + ".new"
	raw, err := json.Marshal(all)
	if err == nil {
		err = c.root.WriteFile(fresh, raw, 0o644)
	}
	if err == nil {
		err = c.root.Rename(fresh, nodesFile)
	}
	if err != nil {
		c.config.Logger.Warn("what is known of nodes cannot be kept", "error", err)
	}
}
