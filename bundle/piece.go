package bundle

import (
	"errors"
	"io"
)

// Pieces is a sequence of bytes that is built or fetched piece by piece.
type Pieces interface {
	// Size returns the total length in bytes.
	Size() int64
	// Piece returns the bytes from offset, which is less than Size, to the end of the piece that contains it: at least
	// one. They are valid until the next call. It may block.
	Piece(offset int64) ([]byte, error)
}

// PieceReader reads [Pieces] without buffering. It implements [io.Reader], [io.Seeker] and [io.WriterTo], and is not
// safe for concurrent use. Readers of pieces embed it.
type PieceReader struct {
	pieces Pieces
	offset int64
}

// ReadPieces returns a reader at the start of p.
func ReadPieces(p Pieces) PieceReader { return PieceReader{pieces: p} }

// Size returns the total length in bytes, whatever the current offset.
func (r *PieceReader) Size() int64 { return r.pieces.Size() }

// Read implements [io.Reader].
func (r *PieceReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.offset >= r.pieces.Size() {
		return 0, io.EOF
	}
	piece, err := r.pieces.Piece(r.offset)
	if err != nil {
		return 0, err
	}
	n := copy(p, piece)
	r.offset += int64(n)
	return n, nil
}

// WriteTo implements [io.WriterTo]: it writes the remaining bytes without copying them first.
func (r *PieceReader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for size := r.pieces.Size(); r.offset < size; {
		piece, err := r.pieces.Piece(r.offset)
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
	return written, nil
}

// Seek implements [io.Seeker]. It reads nothing.
func (r *PieceReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.pieces.Size()
	}
	if offset < 0 {
		return 0, errors.New("seek to a negative offset")
	}
	r.offset = offset
	return offset, nil
}

var (
	_ io.ReadSeeker = (*PieceReader)(nil)
	_ io.WriterTo   = (*PieceReader)(nil)
)
