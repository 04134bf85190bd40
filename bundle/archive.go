package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Chunks gives the plain bytes of chunks.
//
// Chunk may block and honours ctx; it may be called any number of times, from one goroutine at a time. The bytes have
// been checked against c.Digest and have c.Size; they belong to the caller until it calls again. A chunk that is not
// there is an error that the implementation names.
type Chunks interface {
	Chunk(ctx context.Context, c Chunk) ([]byte, error)
}

// ArchiveReader reads the archive of an index, made from chunks as it goes; it never holds more than one chunk. It is
// an [io.Reader], [io.Seeker] and [io.WriterTo], and not safe for concurrent use.
type ArchiveReader struct {
	ctx    context.Context
	chunks Chunks
	layout layout
	offset int64

	piece      []byte // bytes of the archive from pieceStart on: a header, a chunk or zeros
	pieceStart int64
	cursor     cursor
}

// cursor remembers the chunk read last, so that reading on does not search the chunk list from its start.
type cursor struct {
	file, chunk int
	start       int64 // of the chunk within the file
}

// NewArchive returns a reader of the whole archive of ix, at its start. ctx is handed to every call of chunks.
func NewArchive(ctx context.Context, ix *Index, chunks Chunks) *ArchiveReader {
	return &ArchiveReader{ctx: ctx, chunks: chunks, layout: newLayout(ix.Files), cursor: cursor{file: -1}}
}

// Size returns the length of the archive in bytes.
func (r *ArchiveReader) Size() int64 { return r.layout.size }

// Read implements [io.Reader].
func (r *ArchiveReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	piece, err := r.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, piece)
	r.offset += int64(n)
	return n, nil
}

// WriteTo implements [io.WriterTo]: it writes all that is left without copying it in between.
func (r *ArchiveReader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		piece, err := r.next()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(piece)
		written += int64(n)
		r.offset += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// Seek implements [io.Seeker]. It reads nothing.
func (r *ArchiveReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.layout.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the archive")
	}
	r.offset = offset
	return offset, nil
}

// zeros is what padding and the trailer are made of. It is never written to.
var zeros = make([]byte, trailerSize) //nolint:gochecknoglobals // a constant that Go can not spell

// next returns the bytes from the offset to the end of the piece that holds it; they stay valid until it is called
// again.
func (r *ArchiveReader) next() ([]byte, error) {
	if r.offset >= r.layout.size {
		return nil, io.EOF
	}
	if within := r.offset - r.pieceStart; within < 0 || within >= int64(len(r.piece)) {
		if err := r.load(); err != nil {
			return nil, err
		}
	}
	return r.piece[r.offset-r.pieceStart:], nil
}

// load makes the piece that holds the byte at the offset.
func (r *ArchiveReader) load() error {
	r.piece = nil
	i := r.layout.find(r.offset)
	if i == len(r.layout.files) {
		r.pieceStart = r.layout.size - trailerSize
		r.piece = zeros
		return nil
	}
	f := &r.layout.files[i]
	start := r.layout.starts[i]
	content := start + headerSize(f.Path, f.Size)
	switch {
	case r.offset < content:
		r.pieceStart, r.piece = start, header(f.Path, f.Size)
		return nil
	case r.offset >= content+f.Size:
		r.pieceStart, r.piece = content+f.Size, zeros[:padded(f.Size)-f.Size]
		return nil
	}
	c := r.seekChunk(i, r.offset-content)
	data, err := r.chunks.Chunk(r.ctx, c)
	if err != nil {
		return fmt.Errorf("file %q: chunk %s: %w", f.Path, c.Digest.Short(), err)
	}
	if int64(len(data)) != c.Size {
		return fmt.Errorf("file %q: chunk %s: %w: %d bytes, not %d", f.Path, c.Digest.Short(), ErrMalformed,
			len(data), c.Size)
	}
	r.pieceStart, r.piece = content+r.cursor.start, data
	return nil
}

// seekChunk moves the cursor to the chunk that holds the byte at offset of the content of file i, and returns it.
func (r *ArchiveReader) seekChunk(i int, offset int64) Chunk {
	if r.cursor.file != i || r.cursor.start > offset {
		r.cursor = cursor{file: i}
	}
	list := r.layout.files[i].ChunkList()
	for offset >= r.cursor.start+list[r.cursor.chunk].Size {
		r.cursor.start += list[r.cursor.chunk].Size
		r.cursor.chunk++
	}
	return list[r.cursor.chunk]
}

// FileReader reads the content of one file of a bundle, made from chunks as it goes. It is an [io.Reader], [io.Seeker]
// and [io.WriterTo], holds no more than one chunk, and is not safe for concurrent use.
type FileReader struct {
	archive *ArchiveReader // of this one file
	start   int64          // of the content in it
	size    int64
}

// NewFile returns a reader of the content of f, at its start. ctx is handed to every call of chunks.
func NewFile(ctx context.Context, f *File, chunks Chunks) *FileReader {
	r := &FileReader{
		archive: NewArchive(ctx, &Index{Files: []File{*f}}, chunks),
		start:   headerSize(f.Path, f.Size),
		size:    f.Size,
	}
	r.archive.offset = r.start
	return r
}

// Read implements [io.Reader].
func (r *FileReader) Read(p []byte) (int, error) {
	left := r.start + r.size - r.archive.offset
	if left <= 0 {
		return 0, io.EOF
	}
	return r.archive.Read(p[:min(int64(len(p)), left)])
}

// WriteTo implements [io.WriterTo]: it writes all that is left without copying it in between.
func (r *FileReader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		left := r.start + r.size - r.archive.offset
		if left <= 0 {
			return written, nil
		}
		piece, err := r.archive.next()
		if err != nil {
			return written, err
		}
		n, err := w.Write(piece[:min(int64(len(piece)), left)])
		written += int64(n)
		r.archive.offset += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// Seek implements [io.Seeker]. It reads nothing.
func (r *FileReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.archive.offset - r.start
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of the file")
	}
	_, err := r.archive.Seek(r.start+offset, io.SeekStart)
	return offset, err
}
