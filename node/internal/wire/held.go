package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Held is a sequence of bytes in RAM that the kernel can send without copying it: a file that has no name. It must not
// be changed after [NewHeld] has filled it. Its memory goes with Close, or when nobody refers to it any more.
type Held struct {
	size int64
	file file
}

// ErrNotHeld is returned when there can be no file to hold something in: the system has none that a connection could
// send any better than bytes, or no descriptor is left.
var ErrNotHeld = errors.New("cannot be held as a file")

// NewHeld returns what from writes, which must be size bytes, as Held. With [ErrNotHeld], from was not asked.
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

// Close gives back the memory and the descriptor, once nothing is being sent from them. What is read after that fails.
func (h *Held) Close() error { return h.file.Close() }

// Size returns the length in bytes.
func (h *Held) Size() int64 { return h.size }

// Reader returns a reader of length bytes from start, which must lie inside. To a [*Conn] over TCP, c being that
// connection, [Conn.ReadFrom] sends it without copying; for others c is nil and it reads like any other. What is
// written to c next must be the head that it belongs to: the kernel makes one packet of the end of the one and the
// start of the other.
func (h *Held) Reader(c net.Conn, start, length int64) *HeldReader {
	r := &HeldReader{held: h, at: start, left: length}
	if ours, ok := c.(*Conn); ok && length > 0 {
		r.conn, ours.follows = ours, true
	}
	return r
}

// HeldReader reads a part of a [Held]. What embeds one is sent in the same way.
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

// sendHeld sends at most limit bytes of r, and judges the peer as [Conn.Write] does.
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
