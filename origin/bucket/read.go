package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"brink/bundle"
	"brink/digest"
	"brink/origin"
)

// Ranges of a pack that are at most maxGap bytes apart are read in one request: reading the gap is faster than another
// request.
const maxGap = 64 << 10

// Bundle implements [origin.Source]. A bundle exists if its map does.
func (b *Bucket) Bundle(ctx context.Context, id digest.Digest, limit int64) (index, intent []byte, err error) {
	if _, err := b.chunkMap(ctx, id, mapLimit(limit)); err != nil {
		return nil, nil, asSource(err)
	}
	if index, _, err = b.read(ctx, bundleKey(id, indexName), "", limit); err != nil {
		return nil, nil, asSource(err)
	}
	intent, _, err = b.read(ctx, bundleKey(id, intentName), "", maxIntent)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	return index, intent, nil
}

// asSource wraps err in the corresponding error of package origin.
func asSource(err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: %w", origin.ErrNotFound, err)
	case errors.Is(err, ErrMalformed):
		return fmt.Errorf("%w: %w", origin.ErrFault, err)
	}
	return err
}

// chunkMap reads the map of a bundle, of at most limit bytes.
func (b *Bucket) chunkMap(ctx context.Context, id digest.Digest, limit int64) (*chunkMap, error) {
	key := bundleKey(id, mapName)
	raw, _, err := b.read(ctx, key, "", limit)
	if err != nil {
		return nil, err
	}
	m, err := parseMap(raw, id)
	if err != nil {
		return nil, &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
	}
	return m, nil
}

// Chunks implements [origin.Source]: it reads ranges of packs, one after the other.
func (b *Bucket) Chunks(
	ctx context.Context, index *bundle.Index, want []bundle.Chunk, put func(bundle.Frame) error,
) error {
	m, err := b.chunkMap(ctx, index.Bundle(), maxMap)
	if err != nil {
		return asSource(err)
	}
	wanted := make(map[digest.Digest]bool, len(want))
	for _, c := range want {
		wanted[c.Digest] = true
	}
	var list []location
	for _, l := range m.Chunks {
		if wanted[l.Digest] {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b location) int {
		return cmp.Or(cmp.Compare(a.Pack, b.Pack), cmp.Compare(a.Offset, b.Offset))
	})
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Pack == list[0].Pack && list[n].Offset <= list[n-1].end()+maxGap {
			n++
		}
		err := b.readRange(ctx, m.Packs[list[0].Pack], list[0].Offset, list[n-1].end(), func(f bundle.Frame) error {
			if !wanted[f.Digest] {
				return nil // it is in a gap
			}
			delete(wanted, f.Digest)
			return put(f)
		})
		if err != nil && !errors.Is(err, ErrNotFound) { // without a pack, still read the others
			return asSource(err)
		}
		list = list[n:]
	}
	return nil
}

// readRange calls put for each frame between two offsets of a pack. Both must be at the start of a frame.
func (b *Bucket) readRange(
	ctx context.Context, pack digest.Digest, from, to int64, put func(bundle.Frame) error,
) error {
	key := packKey(pack)
	o, err := b.objects.get(ctx, key, ask{offset: from, length: to - from})
	if err != nil {
		return err
	}
	defer o.Close()
	stream := bundle.NewStreamReader(io.MultiReader(
		bytes.NewReader([]byte(packMagic)), io.LimitReader(o, to-from)))
	for from < to {
		f, err := stream.Next()
		switch {
		case errors.Is(err, bundle.ErrMalformed), errors.Is(err, io.EOF):
			return &Error{Op: "get", Key: key, Kind: ErrMalformed, Err: err}
		case err != nil:
			return &Error{Op: "get", Key: key, Kind: ErrUnavailable, Err: err}
		}
		from += frameHeader + int64(len(f.Data))
		if err := put(f); err != nil {
			return err
		}
	}
	return nil
}
