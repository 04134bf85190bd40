package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"brink/channel"
	"brink/digest"
)

// PutManifest replaces the manifest of a channel. m is what raw was verified to be; raw is kept byte for byte. expect
// is the digest of the raw bytes that it replaces, zero when there are none: otherwise [ErrConflict], unless raw is
// there already. It returns [ErrMissingBundle] when a bundle that m needs (see [channel.Manifest.Needs]) is not
// complete here. On return it is durable.
//
// Whether m may be trusted and is newer is for the caller to know: the store checks no signature.
func (s *Store) PutManifest(ctx context.Context, raw []byte, m *channel.Manifest, expect digest.Digest) error {
	if signed := m.Raw(); signed != nil && !bytes.Equal(signed, raw) {
		return fmt.Errorf("put manifest of %s/%s: %w: it was not read from these bytes", m.App, m.Channel, ErrMismatch)
	}
	name := m.App + "/" + m.Channel
	s.changing.Lock()
	defer s.changing.Unlock()
	for id := range m.Needs() {
		if err := s.complete(ctx, id); err != nil {
			return fmt.Errorf("put manifest of %s: %s: %w", name, whatHas(m, id), err)
		}
	}
	if err := s.replace(manifestKind+name, raw, expect); err != nil {
		return fmt.Errorf("put manifest of %s: %w", name, err)
	}
	s.catalog.change(func() {
		if _, known := s.catalog.needs[name]; !known && s.catalog.blind > 0 {
			s.catalog.blind = s.countBlind()
		}
		s.catalog.needs[name] = needsOf(m)
	})
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

// complete returns ErrMissingBundle unless the bundle has all its chunks. The caller holds changing, so that it stays.
func (s *Store) complete(ctx context.Context, id digest.Digest) error {
	lost, err := s.Lost(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: %w", ErrMissingBundle, err)
	case err != nil:
		return err
	case len(lost) > 0:
		return fmt.Errorf("%w: bundle %s has lost %d chunks", ErrMissingBundle, id.Short(), len(lost))
	}
	return nil
}

// countBlind counts the manifests that can not be read. The caller holds changing.
func (s *Store) countBlind() (n int) {
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
func (s *Store) Manifest(app, channel string) ([]byte, error) {
	return s.records.get(manifestKind + app + "/" + channel)
}

// Manifests calls do with the raw manifest of every channel, or with the reason why it can not be read, in the order of
// apps and channels, until do returns false. do owns the bytes and may call the store.
func (s *Store) Manifests(do func(app, channel string, raw []byte, err error) bool) error {
	return s.eachRecord(manifestKind, func(name string, raw []byte, err error) bool {
		app, channel, _ := strings.Cut(name, "/")
		return do(app, channel, raw, err)
	})
}

// eachRecord reads the names first, because do may call the store.
func (s *Store) eachRecord(kind string, do func(name string, raw []byte, err error) bool) error {
	var names []string
	err := s.records.each(kind, func(name string, _ []byte, _ error) error {
		names = append(names, name)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		raw, err := s.records.get(kind + name)
		if errors.Is(err, ErrClosed) {
			return err
		}
		if !do(name, raw, err) {
			return nil
		}
	}
	return nil
}

// replace compares and sets a signed record. A damaged one is replaced by whoever knows its digest no better than
// "none". The caller holds changing.
func (s *Store) replace(key string, raw []byte, expect digest.Digest) error {
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
		return fmt.Errorf("%w: %s", ErrReadOnly, s.ReadOnly())
	}
	return s.records.acknowledge(change{put: map[string][]byte{key: raw}})
}

func nameOrNone(d digest.Digest) string {
	if d.IsZero() {
		return "none"
	}
	return d.Short()
}
