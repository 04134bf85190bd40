package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"brink/bundle"
	"brink/digest"
)

// Bundle is a bundle that was committed. It is immutable.
type Bundle struct {
	BundleInfo
	Index *bundle.Index // share it, and do not change it
}

// BundleInfo is the description of a bundle without its index.
type BundleInfo struct {
	ID        digest.Digest `json:"id"`
	SHA256    digest.SHA256 `json:"sha256"` // of the archive
	Size      int64         `json:"size"`   // of the archive, bytes
	Files     int           `json:"files"`
	Index     digest.Digest `json:"index"`     // of the encoded index
	IndexSize int64         `json:"indexSize"` // bytes
	Created   time.Time     `json:"created"`
	Used      time.Time     `json:"used"` // to the second
}

func infoOf(id digest.Digest, e *entry[bundleRecord]) BundleInfo {
	return BundleInfo{
		ID: id, SHA256: e.record.SHA256, Size: e.record.Size, Files: e.record.Files,
		Index: e.record.Index.Digest, IndexSize: e.record.Index.Size,
		Created: time.Unix(e.record.CreatedAt, 0).UTC(), Used: e.usedAt(),
	}
}

// bundles are the committed bundles. The invariant: a bundle is added to the catalog only after its record is durable,
// and its record is written only after its blobs are durable.
type bundles struct {
	records *records
	blobs   *blobs
	now     func() time.Time
	closing context.Context // done when Close of the store starts

	catalog catalog[digest.Digest, bundleRecord]
	indexes indexCache
}

// load loads the records of all bundles.
func (b *bundles) load(used map[string]int64) error {
	entries := make(map[digest.Digest]*entry[bundleRecord])
	err := b.records.each(bundleKind, func(name string, payload []byte, err error) error {
		var id digest.Digest
		var record bundleRecord
		if err == nil {
			id, err = digest.Parse(name)
		}
		if err == nil {
			record, err = decodeRecord[bundleRecord](payload)
		}
		key := bundleKind + name
		if err != nil {
			b.records.unreadable(key, err) // the next publish writes it again
			return nil
		}
		entries[id] = newEntry(key, record, cmp.Or(used[key], record.CreatedAt))
		return nil
	})
	b.catalog.fill(entries)
	return err
}

// Bundle returns a bundle with its index, and records that it was used. It returns [ErrNotFound] for one that was never
// committed, that was evicted, or whose index is damaged; publishing it again repairs it.
//
// A bundle that has lost chunks is still returned; [Store.Lost] returns which are lost.
func (b *bundles) Bundle(id digest.Digest) (*Bundle, error) {
	e := b.catalog.get(id)
	if e == nil {
		return nil, b.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	e.touch(b.now())
	ix, err := b.index(e)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: index: %w", id.Short(), err)
	}
	return &Bundle{BundleInfo: infoOf(id, e), Index: ix}, nil
}

// absent returns ErrClosed if the store is closed, and err otherwise: the catalog can still be read after Close.
func (b *bundles) absent(err error) error {
	if b.closing.Err() != nil {
		return ErrClosed
	}
	return err
}

// index returns the decoded index of a bundle, from the cache if it is there.
func (b *bundles) index(e *entry[bundleRecord]) (*bundle.Index, error) {
	if b.closing.Err() != nil {
		return nil, ErrClosed
	}
	return b.indexes.load(e.record.Index.Digest, func() (*bundle.Index, int64, error) {
		o, err := b.blobs.open(e.record.Index)
		if err != nil {
			return nil, 0, err
		}
		raw := make([]byte, o.Size())
		if _, err := o.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		ix, err := bundle.DecodeIndex(raw)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w: %w", ErrNotFound, ErrDamaged, err)
		}
		return ix, o.Size(), nil
	})
}

// Info returns the description of a bundle, and false if there is none. It does not record a use.
func (b *bundles) Info(id digest.Digest) (BundleInfo, bool) {
	e := b.catalog.get(id)
	if e == nil {
		return BundleInfo{}, false
	}
	return infoOf(id, e), true
}

// Index returns the encoded index of a bundle, without decoding it. Errors are those of [Store.Bundle].
func (b *bundles) Index(id digest.Digest) (*Object, error) {
	e := b.catalog.get(id)
	if e == nil {
		return nil, b.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	e.touch(b.now())
	return b.blobs.open(e.record.Index)
}

// Intent returns the signed bundle intent of a bundle, as it was received, or [ErrNotFound]. The caller owns the bytes.
func (b *bundles) Intent(id digest.Digest) ([]byte, error) {
	return b.records.get(intentKind + id.String())
}

// Bundles yields all bundles in the order of their IDs, as of the time of the call. It does not record uses.
func (b *bundles) Bundles() iter.Seq[BundleInfo] {
	all := make([]BundleInfo, 0, b.catalog.size())
	b.catalog.each(func(id digest.Digest, e *entry[bundleRecord]) { all = append(all, infoOf(id, e)) })
	slices.SortFunc(all, func(x, y BundleInfo) int { return x.ID.Compare(y.ID) })
	return slices.Values(all)
}

// Lost returns the missing chunks of a bundle, nil if it is complete. It does not read chunks, so it does not detect
// damage as [Store.Verify] does. Errors are those of [Store.Bundle].
func (b *bundles) Lost(ctx context.Context, id digest.Digest) ([]bundle.Chunk, error) {
	e := b.catalog.get(id)
	if e == nil {
		return nil, b.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	ix, err := b.index(e)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: index: %w", id.Short(), err)
	}
	var lost []bundle.Chunk
	for c := range ix.Chunks() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch known, err := b.blobs.known(c.Digest); {
		case err != nil:
			return nil, err
		case !known:
			lost = append(lost, c)
		}
	}
	return lost, nil
}

// complete returns ErrMissingBundle unless the bundle has all its chunks. The caller must hold records.changing, so
// that it is not evicted.
func (b *bundles) complete(ctx context.Context, id digest.Digest) error {
	lost, err := b.Lost(ctx, id)
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

// acknowledge makes the record of a bundle durable. Its blobs must be durable already.
func (b *bundles) acknowledge(id digest.Digest, record bundleRecord, intent []byte) error {
	b.records.changing.Lock()
	defer b.records.changing.Unlock()
	key := bundleKind + id.String()
	if old := b.catalog.get(id); old != nil {
		record.CreatedAt = old.record.CreatedAt
	}
	put := map[string][]byte{key: encodeRecord(record)}
	if len(intent) > 0 {
		put[intentKind+id.String()] = intent
	}
	if err := b.records.acknowledge(change{put: put}); err != nil {
		return err
	}
	e := newEntry(key, record, 0)
	e.touch(b.now())
	b.catalog.change(func(entries map[digest.Digest]*entry[bundleRecord]) { entries[id] = e })
	return nil
}
