package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"brink/channel"
	"brink/digest"
)

// signed is what others have signed: channel manifests, and trust documents with their versions, byte for byte as they
// came. It knows which bundles the channels need.
//
// Its invariant: a manifest is put only when the bundles that it needs are complete, and whoever holds records.changing
// finds the needs of every manifest that can be read.
type signed struct {
	records *records
	quota   *quota
	bundles *bundles

	mu      sync.RWMutex
	needs   map[string]needs // by app/channel; changed with records.changing held as well
	blind   int              // manifests that cannot be read, whose needs nobody knows
	changes int64            // counts what may make another eviction pass worth while
}

// needs are the bundles that a channel manifest names: of its releases and of their attachments.
type needs struct {
	given  []digest.Digest   // to some device now
	before [][]digest.Digest // by release that was served, newest first
}

func needsOf(m *channel.Manifest) needs {
	n := needs{given: slices.Collect(m.Needs())}
	for i := range m.History {
		n.before = append(n.before, slices.Collect(m.History[i].Bundles()))
	}
	return n
}

// load reads all manifests.
func (s *signed) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.needs, s.blind = make(map[string]needs), 0
	return s.records.each(manifestKind, func(name string, payload []byte, err error) error {
		var m *channel.Manifest
		if err == nil {
			m, err = channel.ParseManifest(payload)
		}
		if err != nil {
			s.records.unreadable(manifestKind+name, err)
			s.blind++
			return nil
		}
		s.needs[name] = needsOf(m)
		return nil
	})
}

// note sets what a channel needs. The caller holds records.changing.
func (s *signed) note(channel string, n needs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if _, known := s.needs[channel]; !known && s.blind > 0 {
		s.blind = s.countBlind()
	}
	s.needs[channel] = n
}

// needed returns the bundles that the channels need, with keep releases before the one served.
func (s *signed) needed(keep int) map[digest.Digest]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make(map[digest.Digest]bool)
	for _, n := range s.needs {
		for _, id := range n.given {
			all[id] = true
		}
		for _, release := range n.before[:min(len(n.before), keep)] {
			for _, id := range release {
				all[id] = true
			}
		}
	}
	return all
}

// known reports whether all is known that the channels need: every manifest can be read.
func (s *signed) known() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.blind == 0
}

// generation counts the changes.
func (s *signed) generation() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changes
}

// PutManifest replaces the manifest of a channel. m is what raw was verified to be; raw is kept byte for byte. expect
// is the digest of the raw bytes that it replaces, zero when there are none: otherwise [ErrConflict], unless raw is
// there already. It returns [ErrMissingBundle] when a bundle that m needs (see [channel.Manifest.Needs]) is not
// complete here. On return it is durable.
//
// Whether m may be trusted and is newer is for the caller to know: the store checks no signature.
func (s *signed) PutManifest(ctx context.Context, raw []byte, m *channel.Manifest, expect digest.Digest) error {
	if signed := m.Raw(); signed != nil && !bytes.Equal(signed, raw) {
		return fmt.Errorf("put manifest of %s/%s: %w: it was not read from these bytes", m.App, m.Channel, ErrMismatch)
	}
	name := m.App + "/" + m.Channel
	s.records.changing.Lock()
	defer s.records.changing.Unlock()
	for id := range m.Needs() {
		if err := s.bundles.complete(ctx, id); err != nil {
			return fmt.Errorf("put manifest of %s: %s: %w", name, whatHas(m, id), err)
		}
	}
	if err := s.replace(manifestKind+name, raw, expect); err != nil {
		return fmt.Errorf("put manifest of %s: %w", name, err)
	}
	s.note(name, needsOf(m))
	return nil
}

// whatHas tells people which release of the manifest has the bundle.
func whatHas(m *channel.Manifest, id digest.Digest) string {
	for r := range m.Given() {
		if r.Bundle == id {
			return "release " + r.Version
		}
		for _, a := range r.Attachments {
			if a.Bundle == id {
				return fmt.Sprintf("attachment %s of release %s", a.Kind, r.Version)
			}
		}
	}
	return "a release"
}

// countBlind counts the manifests that cannot be read. The caller holds records.changing.
func (s *signed) countBlind() (n int) {
	err := s.records.each(manifestKind, func(_ string, payload []byte, err error) error {
		if err == nil {
			_, err = channel.ParseManifest(payload)
		}
		if err != nil {
			n++
		}
		return nil
	})
	if err != nil {
		n++ // nobody knows, and nothing needed may be evicted
	}
	return n
}

// Manifest returns the raw manifest of a channel, [ErrNotFound], or [ErrDamaged]. The caller owns the bytes.
func (s *signed) Manifest(app, channel string) ([]byte, error) {
	return s.records.get(manifestKind + app + "/" + channel)
}

// Manifests calls do with the raw manifest of every channel, or with the reason why it cannot be read, in the order of
// apps and channels, until do returns false. do owns the bytes and may call the store.
func (s *signed) Manifests(do func(app, channel string, raw []byte, err error) bool) error {
	return s.records.all(manifestKind, func(name string, raw []byte, err error) bool {
		app, channel, _ := strings.Cut(name, "/")
		return do(app, channel, raw, err)
	})
}

// replace compares and sets a signed record. A damaged one is replaced by whoever knows its digest no better than
// "none". The caller holds records.changing.
func (s *signed) replace(key string, raw []byte, expect digest.Digest) error {
	if len(raw) == 0 || len(raw) > MaxRecord {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(raw))
	}
	current, err := s.records.get(key)
	var name digest.Digest
	switch {
	case err == nil:
		name = digest.Sum(current)
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged):
	default:
		return err
	}
	if err == nil && bytes.Equal(current, raw) {
		return nil
	}
	if name != expect {
		return fmt.Errorf("%w: it is %s, not %s", ErrConflict, nameOrNone(name), nameOrNone(expect))
	}
	if !s.quota.roomForUpkeep() {
		return fmt.Errorf("%w: %s", ErrReadOnly, s.quota.readOnly())
	}
	return s.records.acknowledge(change{put: map[string][]byte{key: raw}})
}

func nameOrNone(d digest.Digest) string {
	if d.IsZero() {
		return "none"
	}
	return d.Short()
}
