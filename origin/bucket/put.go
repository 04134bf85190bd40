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

// maxNear is how many other bundles are looked at for chunks that need not be sent again. The newest few share nearly
// all that any do.
const maxNear = 8

// Upload is a bundle that is to be in the bucket.
type Upload struct {
	Index  *bundle.Index
	Intent []byte // the signed bundle intent; may be empty
	// Near names bundles that may share chunks with it, best first: those of the same channel, newest first. Only these
	// are looked at, and those that are not in the bucket are passed over.
	Near []digest.Digest
	// Frame returns a chunk as a frame. It is called once for each chunk that the bucket lacks, in the order of the
	// index, and its bytes are used until it is called again.
	Frame func(ctx context.Context, c bundle.Chunk) (bundle.Frame, error)
	// DryRun finds out what is lacking, and writes nothing.
	DryRun bool
}

// Sent says what an upload wrote, or would have.
type Sent struct {
	Chunks int   // that the bucket lacked
	Bytes  int64 // of all objects; 0 for a dry run
	Before bool  // the bundle was there, whole
}

// PutBundle makes a bundle complete in the bucket: chunks that it lacks become one pack, and the map that makes the
// bundle visible is written last. It can be repeated, and done by several at once: whoever comes last writes a map of
// its own, and all maps are right. A bundle whose packs were removed is mended.
//
// It looks at names and sizes of packs, not at their bytes. It needs room for the pack in the folder for temporary
// files. Errors are [*Error], those of Frame, and those of that folder.
func (b *Bucket) PutBundle(ctx context.Context, up Upload) (Sent, error) {
	id := up.Index.Bundle()
	have, whole, err := b.places(ctx, up)
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

// known is where chunks are.
type known struct {
	packs  []digest.Digest
	chunks map[digest.Digest]location
}

// places finds the chunks of a bundle that are in the bucket, and whether the bundle itself is there with its map and
// index.
func (b *Bucket) places(ctx context.Context, up Upload) (known, bool, error) {
	want := make(map[digest.Digest]bool)
	for c := range up.Index.Chunks() {
		want[c.Digest] = true
	}
	k := known{chunks: make(map[digest.Digest]location)}
	there := make(map[digest.Digest]int64) // sizes of packs; 0 for those that are gone
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
			err = k.take(m, want, func(pack digest.Digest) (int64, error) { return b.packSize(ctx, there, pack) })
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

// take adds the places that a map knows of chunks that are wanted, and wants them no more.
func (k *known) take(
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

// packSize returns the size of a pack, 0 if it is gone.
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

// compact leaves out the packs that no chunk is in, and names each once.
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

// putPack writes chunks as one pack, adds it to the map, and returns how many bytes were sent. It goes through a file,
// because its name is the digest of its bytes.
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
		// What is left of a temporary file is the system's to remove, and the pack does not depend on it.
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
			return 0, fmt.Errorf("chunk %s: %w: another chunk came", c.Digest.Short(), digest.ErrMismatch)
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
	// An earlier try, or another publisher, may have written the very same.
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
