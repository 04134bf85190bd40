package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"brink/bundle"
	"brink/digest"
)

// DerivedKey names a representation: what it was made from, what it is, and for a patch what it applies to.
type DerivedKey struct {
	Source digest.Digest // of the plain bytes that it stands for
	Kind   string        // 1 to 64 of a-z 0-9 . - ("zstd", "dcz", "zip.7")
	Base   digest.Digest // of the old bytes of a patch; zero if it is none
}

// String returns the key as text, with a slash between its parts. Equal keys have equal texts.
func (k DerivedKey) String() string {
	text := k.Source.String() + "/" + k.Kind
	if !k.Base.IsZero() {
		text += "/" + k.Base.String()
	}
	return text
}

func (k DerivedKey) check() error {
	if len(k.Kind) == 0 || len(k.Kind) > 64 {
		return fmt.Errorf("kind of %d bytes, want 1 to 64", len(k.Kind))
	}
	for i := range len(k.Kind) {
		if c := k.Kind[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("kind %q, want a-z 0-9 . -", k.Kind)
		}
	}
	return nil
}

// PutDerived reads r to its end and keeps the bytes under key, in place of others. It holds one part of them at a time.
// It returns [ErrQuota] when there is no room: other derived content and blobs that nothing refers to are evicted for
// it, bundles are not. It may return [ErrReadOnly], and any error of r.
//
// Derived content may be evicted at any time and is not synced: after a crash it may be gone.
func (s *Store) PutDerived(ctx context.Context, key DerivedKey, r io.Reader) (*Object, error) {
	if err := key.check(); err != nil {
		return nil, fmt.Errorf("derived content: %w", err)
	}
	var pinned []digest.Digest
	defer func() { s.pins.unpin(pinned...) }()
	w := objectWriter{put: func(plain []byte) (digest.Digest, error) {
		f := bundle.Frame{Digest: digest.Sum(plain), Encoding: bundle.Raw, Size: int64(len(plain)), Data: plain}
		s.pins.pin(f.Digest)
		pinned = append(pinned, f.Digest)
		promised := footprint(f.Size)
		if err := s.quota.reserve(ctx, promised, evictDerived); err != nil {
			return f.Digest, err
		}
		defer s.quota.release(promised)
		return f.Digest, s.blobs.put(f)
	}}
	o, err := w.write(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("derived content %s: %w", key, err)
	}
	record := derivedRecord{Object: o, CreatedAt: s.config.Now().Unix()}
	name := key.String()
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.records.keep(change{put: map[string][]byte{derivedKind + name: encodeRecord(record)}}); err != nil {
		return nil, fmt.Errorf("derived content %s: %w", key, err)
	}
	e := newEntry(derivedKind+name, record, 0)
	e.touch(s.config.Now())
	s.catalog.change(func() { s.catalog.derived[name] = e })
	return s.openDerived(name, e)
}

// Derived returns what PutDerived kept under key, and notes that it was used. It returns [ErrNotFound] when there is
// nothing, or no longer.
func (s *Store) Derived(key DerivedKey) (*Object, error) {
	name := key.String()
	e := s.catalog.object(name)
	if e == nil {
		return nil, s.absent(fmt.Errorf("derived content %s: %w", name, ErrNotFound))
	}
	e.touch(s.config.Now())
	return s.openDerived(name, e)
}

func (s *Store) openDerived(name string, e *entry[derivedRecord]) (*Object, error) {
	o, err := s.blobs.open(e.record.Object)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		s.dropDerived(name, e)
		return nil, fmt.Errorf("derived content %s: %w: %w", name, ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	o.lost = func() { s.dropDerived(name, e) }
	return o, nil
}

// dropDerived forgets e, which has lost a part, unless it was made again meanwhile. Its blobs go with the next sweep
// and its record with the next upkeep: a reader must not stand behind those who change records.
func (s *Store) dropDerived(name string, e *entry[derivedRecord]) {
	s.catalog.change(func() {
		if s.catalog.derived[name] == e {
			delete(s.catalog.derived, name)
			s.catalog.dropped = append(s.catalog.dropped, name)
		}
	})
}

// removeDropped removes the records of what dropDerived has forgotten.
func (s *Store) removeDropped() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	var c change
	s.catalog.change(func() {
		for _, name := range s.catalog.dropped {
			if s.catalog.derived[name] == nil {
				c.remove = append(c.remove, derivedKind+name, usedKind+derivedKind+name)
			}
		}
		s.catalog.dropped = nil
	})
	for some := range slices.Chunk(c.remove, 1024) { // a transaction has bounds
		if err := s.records.keep(change{remove: some}); err != nil {
			return fmt.Errorf("remove records: %w", err)
		}
	}
	return nil
}
