package gossip

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// Bounds of what one node sends another over a stream, in bytes.
const (
	// maxNodes is how many members an exchange may name, those that were lost of late included.
	maxNodes = 1024
	// maxNodeState is what an exchange has for one member: the names of seven fields in MessagePack, the longest name
	// and meta, and an address.
	maxNodeState = 64 + MaxName + maxMeta + 48
	// sealOverhead is what encryption adds: version, nonce and tag.
	sealOverhead = 1 + 12 + 16
	// maxStream is the longest encrypted message that a node sends, some 580 kB: an exchange. A page is shorter.
	maxStream = sealOverhead + 64 + maxNodes*maxNodeState + maxState
)

// encrypted is memberlist's type of message that an encrypted one begins with, followed by its length.
const encrypted = 10

// sealedHead is the length of both.
const sealedHead = 1 + 4

// stream is a connection with another node. One message comes in over it, of which the beginning is checked before
// memberlist sees a byte. One goroutine may read while another writes.
type stream struct {
	net.Conn
	gate     *gate
	outgoing bool   // this node dialled: what it sends has a label, and not what it is answered
	labelled bool   // whether the label was sent
	release  func() // gives back the place among the streams

	head  []byte // what memberlist has not read of the checked beginning
	left  int64  // behind the beginning
	begun bool
	err   error // of the beginning
}

// Read implements [net.Conn].
func (s *stream) Read(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		if s.head, s.left, s.err = readOpening(s.Conn, s.gate.labels, s.outgoing); isRefusal(s.err) {
			s.gate.refuse(s.RemoteAddr(), s.err)
		}
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.head) > 0:
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	case s.left == 0:
		return 0, io.EOF
	}
	n, err := s.Conn.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

func isRefusal(err error) bool {
	return errors.Is(err, errLabel) || errors.Is(err, errForm) || errors.Is(err, errLength)
}

// readOpening reads the beginning of a message: the label, unless the message is an answer, and how long it is. It
// returns what memberlist is to read of that, and how many bytes must follow.
func readOpening(r io.Reader, l *labels, answer bool) (head []byte, left int64, err error) {
	opening := make([]byte, len(labelHead)+labelSize+sealedHead)
	if answer {
		opening = opening[:sealedHead]
	}
	if _, err := io.ReadFull(r, opening); err != nil {
		return nil, 0, err
	}
	head = opening
	if !answer {
		if head, err = l.take(opening); err != nil {
			return nil, 0, err
		}
	}
	if head[0] != encrypted {
		return nil, 0, errForm
	}
	left = int64(binary.BigEndian.Uint32(head[1:]))
	if left > maxStream {
		return nil, 0, errLength
	}
	return head, left, nil
}

// Write implements [net.Conn].
func (s *stream) Write(p []byte) (int, error) {
	if s.outgoing && !s.labelled {
		// Memberlist writes its label first, in one piece, and does not need the bytes again.
		if err := s.gate.labels.put(p); err != nil {
			return 0, err
		}
		s.labelled = true
	}
	return s.Conn.Write(p)
}

// Close implements [net.Conn].
func (s *stream) Close() error {
	s.release()
	return s.Conn.Close()
}
