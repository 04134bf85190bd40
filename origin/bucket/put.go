package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"brink/bundle"
	"brink/digest"
)

// maxNear bounds the other bundles that are searched for chunks. Most shared chunks are in the newest few.
const maxNear = 8

// Upload is a bundle to be stored in the bucket.
type Upload struct {
	Index  *bundle.Index
	Intent []byte // the signed bundle intent; may be empty
	// Near lists bundles that may share chunks with it, best first: those of the same channel, newest first. Only these
	// are searched for chunks; those that are not in the bucket are skipped.
	Near []digest.Digest
	// Frame returns a chunk as a frame. It is called once for each chunk that the bucket lacks, in the order of the index.
	// The bytes must be valid until the next call.
	Frame func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error)
	// DryRun only counts what is missing, and writes nothing.
	DryRun bool
}

// Sent is what an upload has written, or would have.
type Sent struct {
	Chunks int   // that the bucket lacked
	Bytes  int64 // of all objects; 0 for a dry run
	Before bool  // the bundle was complete before
}

// PutBundle completes a bundle in the bucket: it writes the chunks that the bucket lacks as one pack, and last the map
// that makes the bundle visible. It is idempotent, and safe to be run by several writers at once: each writes a map,
// and all of them are valid. It repairs a bundle whose packs were removed.
//
// It checks names and sizes of packs, not their bytes. It needs room for the pack in the folder for temporary files.
// Errors are [*Error], those of Frame, and those of that folder.
func (b *Bucket) PutBundle(ctx context.Context, up Upload) (Sent, error) {
	id := up.Index.Bundle()
	have, whole, err := b.findChunks(ctx, up)
	if err != nil {
		return Sent{}, err
	}
	m := chunkMap{Schema: mapSchema, Bundle: id, Packs: have.packs}
	var lacking []bundle.Chunk
	for c := range up.Index.Chunks() {
		if l, ok := have.chunks[c.Digest]; ok {
			m.Chunks = append(m.Chunks, l)
		} else {
			lacking = append(lacking, c)
		}
	}
	sent := Sent{Chunks: len(lacking), Before: whole && len(lacking) == 0}
	if sent.Before || up.DryRun {
		return sent, nil
	}
	if b.ReadOnly() {
		return sent, &Error{Op: "put", Key: bundleKey(id, mapName), Kind: ErrReadOnly}
	}
	if len(lacking) > 0 {
		size, err := b.putPack(ctx, &m, lacking, up.Frame)
		if sent.Bytes += size; err != nil {
			return sent, err
		}
	}
	m.compact()
	raw, err := json.Marshal(m)
	if err != nil {
		return sent, err
	}
	for _, part := range []struct {
		name string
		raw  []byte
	}{{indexName, up.Index.Encode()}, {intentName, up.Intent}, {mapName, raw}} {
		if len(part.raw) == 0 {
			continue
		}
		size := int64(len(part.raw))
		err := b.objects.put(ctx, bundleKey(id, part.name), bytes.NewReader(part.raw), size, condition{})
		if err != nil {
			return sent, err
		}
		sent.Bytes += size
	}
	return sent, nil
}

// known has the locations of chunks.
type known struct {
	packs  []digest.Digest
	chunks map[digest.Digest]location
}

// findChunks finds the chunks of a bundle that are in the bucket, and reports whether the bundle itself is there with
// its map and index.
func (b *Bucket) findChunks(ctx context.Context, up Upload) (known, bool, error) {
	want := make(map[digest.Digest]bool)
	for c := range up.Index.Chunks() {
		want[c.Digest] = true
	}
	k := known{chunks: make(map[digest.Digest]location)}
	sizes := make(map[digest.Digest]int64) // of packs; 0 for missing ones
	whole := false
	id := up.Index.Bundle()
	for i, near := range append([]digest.Digest{id}, up.Near...) {
		if len(want) == 0 || i > maxNear {
			break
		}
		m, err := b.chunkMap(ctx, near, maxMap)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrMalformed) {
			continue
		}
		if err == nil {
			err = k.add(m, want, func(pack digest.Digest) (int64, error) { return b.packSize(ctx, sizes, pack) })
		}
		if err != nil {
			return k, false, err
		}
		if near != id || len(want) > 0 {
			continue
		}
		switch size, err := b.objects.size(ctx, bundleKey(id, indexName)); {
		case err == nil:
			whole = size == int64(len(up.Index.Encode()))
		case !errors.Is(err, ErrNotFound):
			return k, false, err
		}
	}
	return k, whole, nil
}

// add adds the locations of wanted chunks in a map, and removes these chunks from want.
func (k *known) add(
	m *chunkMap, want map[digest.Digest]bool, size func(digest.Digest) (int64, error),
) error {
	first := len(k.packs)
	k.packs = append(k.packs, m.Packs...)
	for _, l := range m.Chunks {
		if !want[l.Digest] {
			continue
		}
		n, err := size(m.Packs[l.Pack])
		if err != nil {
			return err
		}
		if l.end() > n {
			continue
		}
		delete(want, l.Digest)
		l.Pack += first
		k.chunks[l.Digest] = l
	}
	return nil
}

// packSize returns the size of a pack, 0 if it is missing.
func (b *Bucket) packSize(ctx context.Context, seen map[digest.Digest]int64, pack digest.Digest) (int64, error) {
	if size, ok := seen[pack]; ok {
		return size, nil
	}
	size, err := b.objects.size(ctx, packKey(pack))
	if errors.Is(err, ErrNotFound) {
		size, err = 0, nil
	}
	if err == nil {
		seen[pack] = size
	}
	return size, err
}

// compact removes packs that no chunk is in, and duplicates.
func (m *chunkMap) compact() {
	old := m.Packs
	m.Packs = nil
	place := make(map[digest.Digest]int)
	for i := range m.Chunks {
		pack := old[m.Chunks[i].Pack]
		n, ok := place[pack]
		if !ok {
			n = len(m.Packs)
			place[pack] = n
			m.Packs = append(m.Packs, pack)
		}
		m.Chunks[i].Pack = n
	}
}

// putPack writes chunks as one pack, adds it to the map, and returns how many bytes were sent. It uses a temporary
// file, because the name of the pack is the digest of its bytes.
func (b *Bucket) putPack(
	ctx context.Context,
	m *chunkMap,
	chunks []bundle.Chunk,
	frame func(context.Context, bundle.Chunk) (bundle.Frame, error),
) (int64, error) {
	file, err := os.CreateTemp("", "brink-pack-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		// The system removes temporary files that remain, and the pack does not depend on this one.
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	sum := digest.NewHasher()
	stream := bundle.NewStreamWriter(io.MultiWriter(file, sum))
	for _, c := range chunks {
		f, err := frame(ctx, c)
		if err != nil {
			return 0, fmt.Errorf("chunk %s: %w", c.Digest.Short(), err)
		}
		if f.Digest != c.Digest || f.Size != c.Size {
			return 0, fmt.Errorf("chunk %s: %w: got another chunk", c.Digest.Short(), digest.ErrMismatch)
		}
		offset := max(sum.Size(), int64(len(packMagic)))
		if err := stream.Write(f); err != nil {
			return 0, fmt.Errorf("temporary file of a pack: %w", err)
		}
		m.Chunks = append(m.Chunks, location{
			Digest: c.Digest, Pack: len(m.Packs), Offset: offset, Length: sum.Size() - offset,
		})
	}
	if err := stream.Close(); err != nil {
		return 0, fmt.Errorf("temporary file of a pack: %w", err)
	}
	m.Packs = append(m.Packs, sum.Digest())
	key := packKey(sum.Digest())
	// An earlier attempt or another publisher may have written the same pack.
	switch size, err := b.objects.size(ctx, key); {
	case err == nil && size == sum.Size():
		return 0, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return 0, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("temporary file of a pack: %w", err)
	}
	return sum.Size(), b.objects.put(ctx, key, file, sum.Size(), condition{})
}
