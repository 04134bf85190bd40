package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Held is a sequence of bytes in RAM that the kernel can send without copying it: a file without a name. It does not
// change after [NewHeld] has filled it. Close frees its memory, as does the garbage collector.
type Held struct {
	size int64
	file file
}

// ErrNotHeld is returned if the file cannot be created: the system does not support it, or no descriptor is left.
var ErrNotHeld = errors.New("cannot be held as a file")

// NewHeld returns the bytes that from writes, which must be size, as a Held. With [ErrNotHeld], it has not called from.
func NewHeld(from io.WriterTo, size int64) (*Held, error) {
	f, err := newFile()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHeld, err)
	}
	n, err := from.WriteTo(f)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.seal()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Held{size: size, file: f}, nil
}

// Close frees the memory and the descriptor, once nothing is being sent from them. Later reads fail.
func (h *Held) Close() error { return h.file.Close() }

// Size returns the length in bytes.
func (h *Held) Size() int64 { return h.size }

// Reader returns a reader of length bytes from start, which must be within the size. If c is a [*Conn] over TCP, its
// [Conn.ReadFrom] sends the reader without copying. The next write to c must then be the head of the response, because
// the kernel combines its end and the start of the reader into one packet. Otherwise c is nil.
func (h *Held) Reader(c net.Conn, start, length int64) *HeldReader {
	r := &HeldReader{held: h, at: start, left: length}
	if ours, ok := c.(*Conn); ok && length > 0 {
		r.conn, ours.more = ours, true
	}
	return r
}

// HeldReader reads a part of a [Held]. A type that embeds it is sent in the same way.
type HeldReader struct {
	held     *Held
	conn     *Conn
	at, left int64
}

// Read implements [io.Reader].
func (r *HeldReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.held.file.ReadAt(p[:min(int64(len(p)), r.left)], r.at)
	r.at += int64(n)
	r.left -= int64(n)
	return n, err
}

func (r *HeldReader) reader() *HeldReader { return r }

// sendHeld sends at most limit bytes of r, with the limits of [Conn.Write].
func (c *Conn) sendHeld(r *HeldReader, limit int64) (int64, error) {
	limit = min(limit, r.left)
	for total := int64(0); ; {
		now := time.Now()
		if err := c.beforeWrite(now); err != nil {
			return total, err
		}
		n, err := r.held.file.send(c.raw, r.at, limit-total)
		r.at, r.left, total = r.at+n, r.left-n, total+n
		again, err := c.afterWrite(now, int(n), err)
		if !again {
			return total, err
		}
	}
}
