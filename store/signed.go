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

// signed stores signed documents byte for byte as received: channel manifests, and trust documents in all versions. It
// tracks which bundles the channels need.
//
// The invariant: a manifest is stored only if the bundles that it needs are complete, and while records.changing is
// held, needs is up to date for every readable manifest.
type signed struct {
	records *records
	quota   *quota
	bundles *bundles

	mu      sync.RWMutex
	needs   map[string]needs // by app/channel; records.changing must also be held to change it
	blind   int              // number of unreadable manifests, whose needs are unknown
	changes int64            // counts changes after which another eviction pass may free more
}

// needs are the bundles of a channel manifest: those of its releases and their attachments.
type needs struct {
	given  []digest.Digest   // served to some device now
	before [][]digest.Digest // of earlier releases, newest first
}

func needsOf(m *channel.Manifest) needs {
	n := needs{given: slices.Collect(m.RequiredBundles())}
	for i := range m.History {
		n.before = append(n.before, slices.Collect(m.History[i].Bundles()))
	}
	return n
}

// load loads all manifests.
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

// setNeeds sets what a channel needs. The caller must hold records.changing.
func (s *signed) setNeeds(channel string, n needs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if _, known := s.needs[channel]; !known && s.blind > 0 {
		s.blind = s.countBlind()
	}
	s.needs[channel] = n
}

// needed returns the bundles that the channels need, including up to keep earlier releases of each.
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

// known reports whether every manifest is readable, so that all needs are known.
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

// PutManifest replaces the manifest of a channel. m must be parsed from raw, which is stored byte for byte. expect is
// the digest of the raw bytes that it replaces, zero if there are none; it returns [ErrConflict] if that is wrong,
// unless raw is already stored. It returns [ErrMissingBundle] if a bundle that m needs (see [channel.Manifest.Needs])
// is not complete in the store. On return the manifest is durable.
//
// The caller must have verified m and checked that it is newer: the store does not verify signatures.
func (s *signed) PutManifest(ctx context.Context, raw []byte, m *channel.Manifest, expect digest.Digest) error {
	if signed := m.Raw(); signed != nil && !bytes.Equal(signed, raw) {
		return fmt.Errorf("put manifest of %s/%s: %w: it was not read from these bytes", m.App, m.Channel, ErrMismatch)
	}
	name := m.App + "/" + m.Channel
	s.records.changing.Lock()
	defer s.records.changing.Unlock()
	for id := range m.RequiredBundles() {
		if err := s.bundles.complete(ctx, id); err != nil {
			return fmt.Errorf("put manifest of %s: %s: %w", name, ownerOf(m, id), err)
		}
	}
	if err := s.replace(manifestKind+name, raw, expect); err != nil {
		return fmt.Errorf("put manifest of %s: %w", name, err)
	}
	s.setNeeds(name, needsOf(m))
	return nil
}

// ownerOf describes which release of the manifest has the bundle, for error messages.
func ownerOf(m *channel.Manifest, id digest.Digest) string {
	for r := range m.ActiveReleases() {
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

// countBlind counts the unreadable manifests. The caller must hold records.changing.
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
		n++ // unknown: prevent eviction of bundles
	}
	return n
}

// Manifest returns the raw manifest of a channel, [ErrNotFound], or [ErrDamaged]. The caller owns the bytes.
func (s *signed) Manifest(app, channel string) ([]byte, error) {
	return s.records.get(manifestKind + app + "/" + channel)
}

// Manifests calls do with the raw manifest of every channel or the error of reading it, sorted by app and channel,
// until do returns false. do owns the bytes and may call the store.
func (s *signed) Manifests(do func(app, channel string, raw []byte, err error) bool) error {
	return s.records.all(manifestKind, func(name string, raw []byte, err error) bool {
		app, channel, _ := strings.Cut(name, "/")
		return do(app, channel, raw, err)
	})
}

// replace compares and sets a signed record. To replace a damaged one, expect must be zero. The caller must hold
// records.changing.
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
