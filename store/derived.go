package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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

// derived is content made from other content. Its invariant: an object of it that has lost a part is gone, and can be
// made again.
type derived struct {
	records *records
	blobs   *blobs
	quota   *quota
	pins    *pins
	now     func() time.Time
	absent  func(error) error // bundles.absent

	writing writing // calls of PutDerived
	catalog catalog[string, derivedRecord]
	dropped []string // objects whose records are still to be removed; catalog.mu guards it, too
}

// load reads the records of all derived objects.
func (d *derived) load(used map[string]int64) error {
	entries := make(map[string]*entry[derivedRecord])
	err := d.records.each(derivedKind, func(name string, payload []byte, err error) error {
		var record derivedRecord
		if err == nil {
			record, err = decodeRecord[derivedRecord](payload)
		}
		key := derivedKind + name
		if err != nil {
			d.records.unreadable(key, err)
			return nil
		}
		entries[name] = newEntry(key, record, cmp.Or(used[key], record.CreatedAt))
		return nil
	})
	d.catalog.fill(entries)
	return err
}

// PutDerived reads r to its end and keeps the bytes under key, in place of others. It holds one part of them at a time.
// It returns [ErrQuota] when there is no room: other derived content and blobs that nothing refers to are evicted for
// it, bundles are not. The same when a bundle needs the room meanwhile. It may return [ErrReadOnly], and any error of r.
//
// Derived content may be evicted at any time and is not synced: after a crash it may be gone.
func (d *derived) PutDerived(ctx context.Context, key DerivedKey, r io.Reader) (*Object, error) {
	if err := key.check(); err != nil {
		return nil, fmt.Errorf("derived content: %w", err)
	}
	ctx, done := d.writing.start(ctx)
	defer done()
	var pinned []digest.Digest
	defer func() { d.pins.unpin(pinned...) }()
	w := objectWriter{put: func(plain []byte) (digest.Digest, error) {
		f := bundle.Frame{Digest: digest.Sum(plain), Encoding: bundle.Raw, Size: int64(len(plain)), Data: plain}
		d.pins.pin(f.Digest)
		pinned = append(pinned, f.Digest)
		promised := footprint(f.Size)
		if err := d.quota.reserve(ctx, promised, evictDerived); err != nil {
			return f.Digest, err
		}
		defer d.quota.release(promised)
		return f.Digest, d.blobs.put(f)
	}}
	o, err := w.write(ctx, r)
	if err != nil {
		if errors.Is(context.Cause(ctx), errPreempted) {
			err = errPreempted
		}
		return nil, fmt.Errorf("derived content %s: %w", key, err)
	}
	record := derivedRecord{Object: o, CreatedAt: d.now().Unix()}
	name := key.String()
	d.records.changing.Lock()
	defer d.records.changing.Unlock()
	if err := d.records.keep(change{put: map[string][]byte{derivedKind + name: encodeRecord(record)}}); err != nil {
		return nil, fmt.Errorf("derived content %s: %w", key, err)
	}
	e := newEntry(derivedKind+name, record, 0)
	e.touch(d.now())
	d.catalog.change(func(entries map[string]*entry[derivedRecord]) { entries[name] = e })
	return d.open(name, e)
}

// Derived returns what PutDerived kept under key, and notes that it was used. It returns [ErrNotFound] when there is
// nothing, or no longer.
func (d *derived) Derived(key DerivedKey) (*Object, error) {
	name := key.String()
	e := d.catalog.get(name)
	if e == nil {
		return nil, d.absent(fmt.Errorf("derived content %s: %w", name, ErrNotFound))
	}
	e.touch(d.now())
	return d.open(name, e)
}

func (d *derived) open(name string, e *entry[derivedRecord]) (*Object, error) {
	o, err := d.blobs.open(e.record.Object)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		d.drop(name, e)
		return nil, fmt.Errorf("derived content %s: %w: %w", name, ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	o.lost = func() { d.drop(name, e) }
	return o, nil
}

// drop forgets e, which has lost a part, unless it was made again meanwhile. Its blobs go with the next sweep
// and its record with the next upkeep: a reader must not stand behind those who change records.
func (d *derived) drop(name string, e *entry[derivedRecord]) {
	d.catalog.change(func(entries map[string]*entry[derivedRecord]) {
		if entries[name] == e {
			delete(entries, name)
			d.dropped = append(d.dropped, name)
		}
	})
}

// removeDropped removes the records of what drop has forgotten.
func (d *derived) removeDropped() error {
	d.records.changing.Lock()
	defer d.records.changing.Unlock()
	var c change
	d.catalog.change(func(entries map[string]*entry[derivedRecord]) {
		for _, name := range d.dropped {
			if entries[name] == nil {
				c.remove = append(c.remove, derivedKind+name, usedKind+derivedKind+name)
			}
		}
		d.dropped = nil
	})
	for some := range slices.Chunk(c.remove, 1024) { // a transaction has bounds
		if err := d.records.keep(change{remove: some}); err != nil {
			return fmt.Errorf("remove records: %w", err)
		}
	}
	return nil
}
