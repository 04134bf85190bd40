package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"brink/bundle"
	"brink/digest"
	"brink/store/database"
)

// Bundle is a bundle that was committed. It is immutable.
type Bundle struct {
	BundleInfo
	Index *bundle.Index // share it, and do not change it
}

// BundleInfo is what can be said about a bundle without reading its index.
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

func (e *entry[R]) usedAt() time.Time { return time.Unix(e.used.Load(), 0).UTC() }

func infoOf(id digest.Digest, e *entry[bundleRecord]) BundleInfo {
	return BundleInfo{
		ID: id, SHA256: e.record.SHA256, Size: e.record.Size, Files: e.record.Files,
		Index: e.record.Index.Digest, IndexSize: e.record.Index.Size,
		Created: time.Unix(e.record.CreatedAt, 0).UTC(), Used: e.usedAt(),
	}
}

// Bundle returns a bundle with its index, and notes that it was used. It returns [ErrNotFound] for one that was never
// committed, that was evicted, or whose index is damaged; publish it again to heal it.
//
// A bundle that has lost chunks is still returned, and [Store.Chunk] says which are lost.
func (s *Store) Bundle(id digest.Digest) (*Bundle, error) {
	e := s.catalog.bundle(id)
	if e == nil {
		return nil, s.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	e.touch(s.config.Now())
	ix, err := s.index(e)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: index: %w", id.Short(), err)
	}
	return &Bundle{BundleInfo: infoOf(id, e), Index: ix}, nil
}

// absent is ErrClosed when the store is closed and err otherwise: the catalog outlives the databases.
func (s *Store) absent(err error) error {
	if s.context.Err() != nil {
		return ErrClosed
	}
	return err
}

// index returns the decoded index of a bundle, from memory if it was used lately.
func (s *Store) index(e *entry[bundleRecord]) (*bundle.Index, error) {
	if err := s.context.Err(); err != nil {
		return nil, ErrClosed
	}
	return s.indexes.load(e.record.Index.Digest, func() (*bundle.Index, int64, error) {
		o, err := s.blobs.open(e.record.Index)
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

// Index returns the encoded index of a bundle, without decoding it. Errors are those of [Store.Bundle].
func (s *Store) Index(id digest.Digest) (*Object, error) {
	e := s.catalog.bundle(id)
	if e == nil {
		return nil, s.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	e.touch(s.config.Now())
	return s.blobs.open(e.record.Index)
}

// Intent returns the signed bundle intent as it came with the bundle, or [ErrNotFound]. The caller owns the bytes.
func (s *Store) Intent(id digest.Digest) ([]byte, error) {
	return s.records.get(intentKind + id.String())
}

// Bundles yields all bundles in the order of their ids, as they are when it is called. It notes no use.
func (s *Store) Bundles() iter.Seq[BundleInfo] {
	s.catalog.mu.RLock()
	all := make([]BundleInfo, 0, len(s.catalog.bundles))
	for id, e := range s.catalog.bundles {
		all = append(all, infoOf(id, e))
	}
	s.catalog.mu.RUnlock()
	slices.SortFunc(all, func(a, b BundleInfo) int { return a.ID.Compare(b.ID) })
	return slices.Values(all)
}

// Lost returns the chunks of a bundle that are not here any more, nil when it is complete. It looks for names and does
// not read the chunks; [Store.Verify] does. Errors are those of [Store.Bundle].
func (s *Store) Lost(ctx context.Context, id digest.Digest) ([]bundle.Chunk, error) {
	e := s.catalog.bundle(id)
	if e == nil {
		return nil, s.absent(fmt.Errorf("bundle %s: %w", id.Short(), ErrNotFound))
	}
	ix, err := s.index(e)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: index: %w", id.Short(), err)
	}
	var lost []bundle.Chunk
	for c := range ix.Chunks() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch known, err := s.blobs.known(c.Digest); {
		case err != nil:
			return nil, err
		case !known:
			lost = append(lost, c)
		}
	}
	return lost, nil
}

// Has reports whether there is a chunk of that name whose envelope looks right. It does not read all of it.
func (s *Store) Has(d digest.Digest) (bool, error) { return s.blobs.has(d) }

// Chunk returns the plain bytes of a chunk, verified; the caller owns them. A chunk that is not here is [ErrNotFound].
// A damaged one is set aside and counted, and is [ErrNotFound] and [ErrDamaged]. Size may be 0 when it is not known.
func (s *Store) Chunk(ctx context.Context, c bundle.Chunk) ([]byte, error) {
	r := s.Reader()
	defer r.Close()
	plain, err := r.Chunk(ctx, c)
	return slices.Clone(plain), err
}

// Frame returns a chunk as it is stored, ready to be sent, verified by the checksum that was made when its plain bytes
// were verified; the caller owns it. Errors are those of [Store.Chunk].
func (s *Store) Frame(ctx context.Context, d digest.Digest) (bundle.Frame, error) {
	if err := ctx.Err(); err != nil {
		return bundle.Frame{}, err
	}
	var log database.LogReader
	defer log.Close()
	return s.blobs.sealed(&log, d)
}

var _ bundle.Chunks = (*Store)(nil)
