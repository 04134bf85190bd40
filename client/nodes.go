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

// A device with several nodes uses the one first that answered fastest in its last measurement. It measures them one by
// one: each Update uses a node without a recent measurement, if there is one.

const (
	// nodesFile contains the contacts. It is only an optimization, and is not synced.
	nodesFile = "nodes.json"
	// measureEvery is how long a measurement is valid. Devices move, and routes to nodes change.
	measureEvery = 24 * time.Hour
	// minPenalty is how long a node is used last after it failed and another did not. It doubles with each consecutive
	// failure, up to maxPenalty.
	minPenalty = 10 * time.Minute
	maxPenalty = 24 * time.Hour
)

// contact is what a device knows about a node from earlier requests.
type contact struct {
	Node     string        `json:"node"` // its base URL
	Wait     time.Duration `json:"wait"` // for the head of the answer to a check, in nanoseconds
	Measured time.Time     `json:"measured,omitzero"`
	Failed   time.Time     `json:"failed,omitzero"` // the last time; zero if it has succeeded since
	Failures int           `json:"failures,omitempty"`
}

// rank returns the group of a node: 0 without a recent measurement, 1 with one, 2 to be used last. Times in the future
// come from a clock that was set back, and are ignored.
func (c contact) rank(now time.Time) int {
	penalty := maxPenalty
	if c.Failures < 8 { // 2^8 times the minimum exceeds the maximum
		penalty = min(minPenalty<<max(c.Failures-1, 0), maxPenalty)
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

// contacts is what a device knows about its nodes.
type contacts []contact

// of returns the contact of a node, which may be empty.
func (all contacts) of(node string) contact {
	if i := slices.IndexFunc(all, func(c contact) bool { return c.Node == node }); i >= 0 {
		return all[i]
	}
	return contact{Node: node}
}

// order returns the nodes in the order in which to use them. The sort is stable.
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

// record returns the contacts after an Update that one of the nodes served. It answered after wait; failed are the
// nodes that were tried before it.
func (all contacts) record(nodes []string, served string, wait time.Duration, failed []string, now time.Time) contacts {
	next := make(contacts, len(nodes))
	for i, node := range nodes {
		c := all.of(node)
		switch {
		case node == served:
			c = contact{Node: node, Wait: wait, Measured: now}
		case slices.Contains(failed, node):
			c.Failed, c.Failures = now, min(c.Failures, maxFailures)+1
		}
		next[i] = c
	}
	return next
}

// maxFailures limits the count of failures; more make no difference.
const maxFailures = 100

// loadContacts loads the contacts. It returns none if the file cannot be read.
func (c *Client) loadContacts() contacts {
	if len(c.config.Nodes) < 2 {
		return nil
	}
	raw, err := c.root.ReadFile(nodesFile)
	if err != nil {
		return nil
	}
	all, err := decodeContacts(raw)
	if err != nil {
		c.config.Logger.Warn("the measurements of nodes cannot be loaded", "error", err)
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

// UnmarshalJSON decodes the elements one by one and refuses contacts without a node, because empty ones would need many
// times their encoded size in memory.
func (all *contacts) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return errors.Join(err, errors.New("want a list of contacts"))
	}
	*all = nil
	for d.More() {
		var c contact
		if err := d.Decode(&c); err != nil {
			return err
		}
		if c.Node == "" {
			return errors.New("a contact has no node")
		}
		*all = append(*all, c)
	}
	return nil
}

// saveContacts writes the contacts. If it fails, the device only uses its nodes in a worse order.
func (c *Client) saveContacts(all contacts) {
	const fresh = nodesFile + ".new"
	raw, err := json.Marshal(all)
	if err == nil {
		err = c.root.WriteFile(fresh, raw, 0o644)
	}
	if err == nil {
		err = c.root.Rename(fresh, nodesFile)
	}
	if err != nil {
		c.config.Logger.Warn("the measurements of nodes cannot be saved", "error", err)
	}
}
