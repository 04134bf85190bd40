package bundle

import (
	"context"
	"fmt"
)

// Chunks returns the plain bytes of chunks.
//
// Chunk may block, and honours ctx. It may be called any number of times, from one goroutine at a time. It has checked
// the bytes against c.Digest and c.Size; they are valid until the next call. The implementation documents its error for
// a missing chunk.
type Chunks interface {
	Chunk(ctx context.Context, c Chunk) ([]byte, error)
}

// ArchiveReader reads the archive of an index. It builds the archive from chunks on the fly, with at most one chunk in
// memory. It implements [io.Reader], [io.Seeker] and [io.WriterTo], and is not safe for concurrent use.
type ArchiveReader struct {
	PieceReader

	archive archivePieces
}

// NewArchive returns a reader at the start of the archive of ix. It passes ctx to every call of chunks.
func NewArchive(ctx context.Context, ix *Index, chunks Chunks) *ArchiveReader {
	r := &ArchiveReader{archive: newArchivePieces(ctx, ix.Files, chunks)}
	r.PieceReader = ReadPieces(&r.archive)
	return r
}

// archivePieces is the archive of some files: headers, chunks and zeros.
type archivePieces struct {
	ctx    context.Context
	chunks Chunks
	layout layout

	piece      []byte // bytes of the archive from pieceStart on: a header, a chunk or zeros
	pieceStart int64
	cursor     cursor
}

func newArchivePieces(ctx context.Context, files []File, chunks Chunks) archivePieces {
	return archivePieces{ctx: ctx, chunks: chunks, layout: newLayout(files), cursor: cursor{file: -1}}
}

// cursor is the position of the last chunk read, so that sequential reads do not search the chunk list from its start.
type cursor struct {
	file, chunk int
	start       int64 // of the chunk within the file
}

// zeros is the source of padding and of the trailer. It is never written to.
var zeros = make([]byte, trailerSize) //nolint:gochecknoglobals // Go has no constant arrays

// Size implements [Pieces].
func (a *archivePieces) Size() int64 { return a.layout.size }

// Piece implements [Pieces].
func (a *archivePieces) Piece(offset int64) ([]byte, error) {
	if within := offset - a.pieceStart; within < 0 || within >= int64(len(a.piece)) {
		if err := a.build(offset); err != nil {
			return nil, err
		}
	}
	return a.piece[offset-a.pieceStart:], nil
}

// build sets piece to the piece that contains the byte at offset.
func (a *archivePieces) build(offset int64) error {
	a.piece = nil
	i := a.layout.find(offset)
	if i == len(a.layout.files) {
		a.pieceStart = a.layout.size - trailerSize
		a.piece = zeros
		return nil
	}
	f := &a.layout.files[i]
	start := a.layout.starts[i]
	content := start + headerSize(f.Path, f.Size)
	switch {
	case offset < content:
		a.pieceStart, a.piece = start, header(f.Path, f.Size)
		return nil
	case offset >= content+f.Size:
		a.pieceStart, a.piece = content+f.Size, zeros[:padded(f.Size)-f.Size]
		return nil
	}
	c := a.seekChunk(i, offset-content)
	data, err := a.chunks.Chunk(a.ctx, c)
	if err != nil {
		return fmt.Errorf("file %q: chunk %s: %w", f.Path, c.Digest.Short(), err)
	}
	if int64(len(data)) != c.Size {
		return fmt.Errorf("file %q: chunk %s: %w: %d bytes, not %d", f.Path, c.Digest.Short(), ErrMalformed,
			len(data), c.Size)
	}
	a.pieceStart, a.piece = content+a.cursor.start, data
	return nil
}

// seekChunk moves the cursor to the chunk that contains the byte at offset of the content of file i, and returns it.
func (a *archivePieces) seekChunk(i int, offset int64) Chunk {
	if a.cursor.file != i || a.cursor.start > offset {
		a.cursor = cursor{file: i}
	}
	list := a.layout.files[i].ChunkList()
	for offset >= a.cursor.start+list[a.cursor.chunk].Size {
		a.cursor.start += list[a.cursor.chunk].Size
		a.cursor.chunk++
	}
	return list[a.cursor.chunk]
}

// FileReader reads the content of one file of a bundle, with at most one chunk in memory. It implements [io.Reader],
// [io.Seeker] and [io.WriterTo], and is not safe for concurrent use.
type FileReader struct {
	PieceReader

	file filePieces
}

// NewFile returns a reader at the start of the content of f. It passes ctx to every call of chunks.
func NewFile(ctx context.Context, f *File, chunks Chunks) *FileReader {
	r := &FileReader{file: filePieces{
		archive: newArchivePieces(ctx, []File{*f}, chunks),
		start:   headerSize(f.Path, f.Size),
		size:    f.Size,
	}}
	r.PieceReader = ReadPieces(&r.file)
	return r
}

// filePieces is the content of one file.
type filePieces struct {
	archive archivePieces // of this one file
	start   int64         // of the content in it
	size    int64
}

// Size implements [Pieces].
func (f *filePieces) Size() int64 { return f.size }

// Piece implements [Pieces].
func (f *filePieces) Piece(offset int64) ([]byte, error) {
	piece, err := f.archive.Piece(f.start + offset)
	if err != nil {
		return nil, err
	}
	return piece[:min(int64(len(piece)), f.size-offset)], nil
}
