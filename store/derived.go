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

// DerivedKey names a representation: its source, its kind, and the base of a patch.
type DerivedKey struct {
	Source digest.Digest // of the plain bytes that it represents
	Kind   string        // 1 to 64 of a-z 0-9 . - ("zstd", "dcz", "zip.7")
	Base   digest.Digest // of the old bytes of a patch; zero if it is not a patch
}

// String returns the key as text, with slashes between its parts. Equal keys have equal texts.
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

// derived is content made from other content. The invariant: an object that has lost a part is removed, so that it can
// be made again.
type derived struct {
	records *records
	blobs   *blobs
	quota   *quota
	pins    *pins
	now     func() time.Time
	absent  func(error) error // bundles.absent

	writing writing // calls of PutDerived
	catalog catalog[string, derivedRecord]
	dropped []string // objects whose records are to be removed; guarded by catalog.mu
}

// load loads the records of all derived objects.
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

// PutDerived reads r to its end and stores the bytes under key, replacing others. It holds one part in memory at a
// time. To make room it evicts other derived content and unreferenced blobs, but no bundles. It returns [ErrQuota] if
// that is not enough or if a bundle needs the room meanwhile, [ErrReadOnly], or any error of r.
//
// Derived content may be evicted at any time and is not synced: it may be lost in a crash.
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

// Derived returns what PutDerived stored under key, and records that it was used. It returns [ErrNotFound] if there is
// nothing.
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

// drop removes e, which has lost a part, from the catalog, unless it was made again in the meantime. The next sweep
// removes its blobs and the next upkeep its record, because a reader must not wait for records.changing.
func (d *derived) drop(name string, e *entry[derivedRecord]) {
	d.catalog.change(func(entries map[string]*entry[derivedRecord]) {
		if entries[name] == e {
			delete(entries, name)
			d.dropped = append(d.dropped, name)
		}
	})
}

// removeDropped removes the records of dropped objects.
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
	for some := range slices.Chunk(c.remove, 1024) { // the size of transactions is limited
		if err := d.records.keep(change{remove: some}); err != nil {
			return fmt.Errorf("remove records: %w", err)
		}
	}
	return nil
}
