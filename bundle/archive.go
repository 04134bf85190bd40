package bundle

import (
	"context"
	"fmt"
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
	PieceReader

	archive archivePieces
}

// NewArchive returns a reader of the whole archive of ix, at its start. ctx is handed to every call of chunks.
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

// cursor remembers the chunk read last, so that reading on does not search the chunk list from its start.
type cursor struct {
	file, chunk int
	start       int64 // of the chunk within the file
}

// zeros is what padding and the trailer are made of. It is never written to.
var zeros = make([]byte, trailerSize) //nolint:gochecknoglobals // a constant that Go cannot spell

// Size implements [Pieces].
func (a *archivePieces) Size() int64 { return a.layout.size }

// Piece implements [Pieces].
func (a *archivePieces) Piece(offset int64) ([]byte, error) {
	if within := offset - a.pieceStart; within < 0 || within >= int64(len(a.piece)) {
		if err := a.load(offset); err != nil {
			return nil, err
		}
	}
	return a.piece[offset-a.pieceStart:], nil
}

// load makes the piece that holds the byte at offset.
func (a *archivePieces) load(offset int64) error {
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

// seekChunk moves the cursor to the chunk that holds the byte at offset of the content of file i, and returns it.
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

// FileReader reads the content of one file of a bundle, made from chunks as it goes. It is an [io.Reader], [io.Seeker]
// and [io.WriterTo], holds no more than one chunk, and is not safe for concurrent use.
type FileReader struct {
	PieceReader

	file filePieces
}

// NewFile returns a reader of the content of f, at its start. ctx is handed to every call of chunks.
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
