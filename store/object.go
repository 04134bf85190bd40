package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"brink/bundle"
	"brink/digest"
)

const (
	partSize    = bundle.MaxChunk
	listEntries = partSize / digest.Size // digests in a full list
	inlineParts = 16                     // the record of an object of up to 4 MiB contains the digests of its parts
)

// parts returns the number of parts of the object.
func (o *object) parts() int64 { return (o.Size + partSize - 1) / partSize }

func (o *object) check() error {
	want, got := o.parts(), int64(len(o.Parts))
	if len(o.Lists) > 0 {
		want, got = (want+listEntries-1)/listEntries, int64(len(o.Lists))+got
	}
	if o.Size < 0 || got != want {
		return fmt.Errorf("object of %d bytes with %d parts and %d lists", o.Size, len(o.Parts), len(o.Lists))
	}
	return nil
}

// objectWriter splits a stream into the parts of an object. Only put must be set. It can be used only once.
type objectWriter struct {
	// put stores one part, and pins it first. plain is only valid until it returns.
	put    func(plain []byte) (digest.Digest, error)
	hasher *digest.Hasher
	parts  []digest.Digest
}

// write reads r to its end and returns the object. It holds one part in memory at a time.
func (w *objectWriter) write(ctx context.Context, r io.Reader) (object, error) {
	w.hasher = digest.NewHasher()
	buffer := make([]byte, partSize)
	for {
		if err := ctx.Err(); err != nil {
			return object{}, err
		}
		n, last, err := readPart(r, buffer)
		if err != nil {
			return object{}, err
		}
		if n > 0 {
			_, _ = w.hasher.Write(buffer[:n])
			d, err := w.put(buffer[:n])
			if err != nil {
				return object{}, err
			}
			w.parts = append(w.parts, d)
		}
		if last {
			break
		}
	}
	o := object{Size: w.hasher.Size(), Digest: w.hasher.Digest()}
	if len(w.parts) <= inlineParts {
		o.Parts = w.parts
		return o, nil
	}
	for rest := w.parts; len(rest) > 0; {
		n := min(len(rest), listEntries)
		d, err := w.put(joinDigests(buffer[:0], rest[:n]))
		if err != nil {
			return object{}, err
		}
		o.Lists = append(o.Lists, d)
		rest = rest[n:]
	}
	return o, nil
}

// readPart fills the buffer, or reads to the end of r, and reports whether it is the last part. [io.ReadFull] is
// unsuitable: for a short last part it returns the same error as a source that was truncated.
func readPart(r io.Reader, buffer []byte) (n int, last bool, err error) {
	for n < len(buffer) {
		m, err := r.Read(buffer[n:])
		n += m
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

func joinDigests(b []byte, digests []digest.Digest) []byte {
	for _, d := range digests {
		b = append(b, d[:]...)
	}
	return b
}

func splitDigests(b []byte) []digest.Digest {
	digests := make([]digest.Digest, 0, len(b)/digest.Size)
	for ; len(b) >= digest.Size; b = b[digest.Size:] {
		digests = append(digests, digest.Digest(b))
	}
	return digests
}

// open returns the object. It reads the lists of its parts, if it has any.
func (b *blobs) open(o object) (*Object, error) {
	parts := o.Parts
	for _, list := range o.Lists {
		plain, err := b.plain(list)
		if err != nil {
			return nil, err
		}
		parts = append(parts, splitDigests(plain)...)
	}
	if int64(len(parts)) != o.parts() {
		return nil, fmt.Errorf("object %s: %w: %d parts", o.Digest.Short(), ErrDamaged, len(parts))
	}
	return &Object{blobs: b, size: o.Size, digest: o.Digest, parts: parts}, nil
}

// Object is a large sequence of bytes in the store: a derived representation, or an encoded index. It is immutable and
// safe for concurrent use.
//
// Every part is verified when it is read. For a missing or damaged part the error is [ErrNotFound], and a derived
// object is then removed, so that it can be made again. If an object is evicted while it is read, the error is the
// same.
type Object struct {
	blobs  *blobs
	size   int64
	digest digest.Digest
	parts  []digest.Digest
	lost   func() // called if a part is missing or damaged; may be nil
}

// Size returns the length in bytes.
func (o *Object) Size() int64 { return o.size }

// Digest returns the digest of the whole object.
func (o *Object) Digest() digest.Digest { return o.digest }

// part returns the bytes of part i, in the memory of r.
func (o *Object) part(r *Reader, i int64) ([]byte, error) {
	plain, err := r.plain(o.parts[i])
	if err == nil {
		if want := min(partSize, o.size-i*partSize); int64(len(plain)) == want {
			return plain, nil
		}
		err = fmt.Errorf("%w: %w: part of %d bytes", ErrNotFound, ErrDamaged, len(plain))
	}
	if errors.Is(err, ErrNotFound) && o.lost != nil {
		o.lost()
	}
	return nil, fmt.Errorf("object %s, part %d: %w", o.digest.Short(), i, err)
}

// ReadAt implements [io.ReaderAt].
func (o *Object) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, errors.New("read before the start of the object")
	}
	r := Reader{blobs: o.blobs}
	defer r.Close()
	for n < len(p) && offset < o.size {
		plain, err := o.part(&r, offset/partSize)
		if err != nil {
			return n, err
		}
		copied := copy(p[n:], plain[offset%partSize:])
		n += copied
		offset += int64(copied)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Reader returns a reader at the start of the object. The caller has to close it.
func (o *Object) Reader() *ObjectReader {
	r := &ObjectReader{pieces: o.inPieces()}
	r.PieceReader = bundle.ReadPieces(&r.pieces)
	return r
}

// ObjectReader reads an [Object], with one part of it in memory. It is an [io.Reader], [io.Seeker], [io.WriterTo] and
// [io.Closer], and is not safe for concurrent use.
type ObjectReader struct {
	bundle.PieceReader

	pieces objectPieces
}

var (
	_ io.ReadSeekCloser = (*ObjectReader)(nil)
	_ io.WriterTo       = (*ObjectReader)(nil)
	_ io.ReaderAt       = (*Object)(nil)
)

// Close releases the memory of the reader. It is idempotent, never fails, and the reader may be used again.
func (r *ObjectReader) Close() error {
	r.pieces.close()
	return nil
}

// objectPieces implements [bundle.Pieces] for an object. It must be closed.
type objectPieces struct {
	object *Object
	reader Reader
	plain  []byte // of the loaded part
	loaded int64  // -1: none
}

func (o *Object) inPieces() objectPieces {
	return objectPieces{object: o, reader: Reader{blobs: o.blobs}, loaded: -1}
}

// Size implements [bundle.Pieces].
func (p *objectPieces) Size() int64 { return p.object.size }

// Piece implements [bundle.Pieces].
func (p *objectPieces) Piece(offset int64) ([]byte, error) {
	if i := offset / partSize; i != p.loaded {
		p.loaded = -1 // its memory is about to be reused
		plain, err := p.object.part(&p.reader, i)
		if err != nil {
			return nil, err
		}
		p.plain, p.loaded = plain, i
	}
	return p.plain[offset%partSize:], nil
}

func (p *objectPieces) close() {
	p.reader.Close()
	p.plain, p.loaded = nil, -1
}
