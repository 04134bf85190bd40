package represent

import (
	"bytes"
	"io"
	"net"

	"brink/node/internal/wire"
)

// sending is an answer that uses a representation of the hot set until the server closes it as the stream of the body,
// which the server always does.
type sending struct {
	held       *held // nil: closed
	conn       net.Conn
	prev, next *sending // of the same representation
}

// sendingBytes and sendingFile are the two forms, each in one piece of memory. Both are sent without being copied.
type (
	sendingBytes struct {
		bytes.Reader
		sending
	}
	sendingFile struct {
		wire.HeldReader
		sending
	}
)

// Send implements [serve.Owner].
func (one *held) Send(conn net.Conn, start, length int64) io.ReadCloser {
	if one.Held == nil {
		s := &sendingBytes{sending: sending{held: one, conn: conn}}
		s.Reset(one.Data[start : start+length])
		s.register()
		return s
	}
	s := &sendingFile{*one.Held.Reader(conn, start, length), sending{held: one, conn: conn}}
	s.register()
	return s
}

func (s *sending) register() {
	set := s.held.set
	set.mu.Lock()
	defer set.mu.Unlock()
	if s.next = s.held.answers; s.next != nil {
		s.next.prev = s
	}
	s.held.answers = s
	if s.held.cut { // since it was acquired
		set.cutAnswer(s)
	}
}

// Close implements [io.Closer].
func (s *sending) Close() error {
	one := s.held
	if one == nil {
		return nil
	}
	one.set.mu.Lock()
	if s.prev == nil {
		one.answers = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.held = nil
	one.set.release(one)
	return nil
}

// cutAnswer ends an answer that is not closed. The caller holds mu.
func (h *Hot) cutAnswer(s *sending) {
	h.cut++
	wire.Abort(s.conn)
}
