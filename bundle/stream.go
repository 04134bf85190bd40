package bundle

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"brink/digest"
)

// A chunk stream is a sequence of frames, written so that a reader can detect truncation:
//
//	8 bytes  magic "brinkch1"
//	then for each frame:
//	1 byte   1
//	1 byte   encoding (0 raw, 1 zstd, 255 absent)
//	4 bytes  size of the plain bytes, big endian; 0 when absent
//	4 bytes  size of the encoded bytes, big endian; 0 when absent
//	32 bytes digest of the plain bytes
//	n bytes  the encoded bytes
//	and at the end:
//	1 byte   0
//	4 bytes  number of frames, big endian
const streamMagic = "brinkch1"

const (
	markEnd         = 0
	markFrame       = 1
	frameHeaderSize = 1 + 4 + 4 + digest.Size
)

// StreamWriter writes a chunk stream. Use [NewStreamWriter]; it is not safe for concurrent use.
type StreamWriter struct {
	w      io.Writer
	header []byte
	frames uint32
}

// NewStreamWriter returns a StreamWriter that writes to w without buffering. It writes nothing before the first frame.
func NewStreamWriter(w io.Writer) *StreamWriter {
	return &StreamWriter{w: w, header: []byte(streamMagic)}
}

// Write writes a frame.
func (s *StreamWriter) Write(f Frame) error {
	s.header = append(s.header, markFrame, byte(f.Encoding))
	s.header = binary.BigEndian.AppendUint32(s.header, uint32(f.Size))
	s.header = binary.BigEndian.AppendUint32(s.header, uint32(len(f.Data)))
	s.header = append(s.header, f.Digest[:]...)
	if err := s.flush(); err != nil {
		return err
	}
	s.frames++
	_, err := s.w.Write(f.Data)
	return err
}

// Close writes the end of the stream, without which readers report it as truncated. It does not close the underlying
// writer.
func (s *StreamWriter) Close() error {
	s.header = append(s.header, markEnd)
	s.header = binary.BigEndian.AppendUint32(s.header, s.frames)
	return s.flush()
}

func (s *StreamWriter) flush() error {
	_, err := s.w.Write(s.header)
	s.header = s.header[:0]
	return err
}

// StreamReader reads a chunk stream. Use [NewStreamReader]; it is not safe for concurrent use.
type StreamReader struct {
	r       *bufio.Reader
	data    []byte
	frames  uint32
	started bool // the magic was read
}

// NewStreamReader returns a StreamReader that reads from r. It may read more from r than the frames it returns.
func NewStreamReader(r io.Reader) *StreamReader {
	return &StreamReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next returns the next frame without checking its digest, which [Codec.Plain] does. Its Data is valid until the next
// call. After the last frame of a complete stream Next returns [io.EOF]. It returns [io.ErrUnexpectedEOF] for a
// truncated stream, and [ErrMalformed] for a corrupt one.
func (s *StreamReader) Next() (Frame, error) {
	if !s.started {
		var magic [len(streamMagic)]byte
		if err := s.fill(magic[:]); err != nil {
			return Frame{}, err
		}
		if string(magic[:]) != streamMagic {
			return Frame{}, fmt.Errorf("chunk stream: %w: no magic at its start", ErrMalformed)
		}
		s.started = true
	}
	var mark [1]byte
	if err := s.fill(mark[:]); err != nil {
		return Frame{}, err
	}
	switch mark[0] {
	case markFrame:
		return s.frame()
	case markEnd:
		return Frame{}, s.end()
	}
	return Frame{}, fmt.Errorf("chunk stream: %w: mark %d", ErrMalformed, mark[0])
}

func (s *StreamReader) frame() (Frame, error) {
	var h [frameHeaderSize]byte
	if err := s.fill(h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{
		Encoding: Encoding(h[0]),
		Size:     int64(binary.BigEndian.Uint32(h[1:])),
		Digest:   digest.Digest(h[9:]),
	}
	n := int(binary.BigEndian.Uint32(h[5:]))
	if f.Size > MaxChunk || n > MaxFrame || (f.Encoding == Absent && (n != 0 || f.Size != 0)) {
		return Frame{}, fmt.Errorf("chunk stream: %w: frame of %d bytes for a chunk of %d", ErrMalformed, n, f.Size)
	}
	if cap(s.data) < n {
		s.data = make([]byte, n, max(n, 64<<10))
	}
	f.Data = s.data[:n]
	if err := s.fill(f.Data); err != nil {
		return Frame{}, err
	}
	s.frames++
	return f, nil
}

func (s *StreamReader) end() error {
	var count [4]byte
	if err := s.fill(count[:]); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint32(count[:]); n != s.frames {
		return fmt.Errorf("chunk stream: %w: %d frames, want %d as counted at its end", ErrMalformed, s.frames, n)
	}
	switch _, err := s.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("chunk stream: %w: bytes after its end", ErrMalformed)
	case !errors.Is(err, io.EOF):
		return err
	}
	return io.EOF
}

func (s *StreamReader) fill(b []byte) error {
	_, err := io.ReadFull(s.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("chunk stream: %w", io.ErrUnexpectedEOF)
	}
	return err
}
