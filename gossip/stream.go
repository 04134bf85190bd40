package gossip

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// Bounds of what one node sends another over a stream, in bytes.
const (
	// maxNodes is how many members an exchange may list, including those that were lost recently.
	maxNodes = 1024
	// maxNodeState is the size of one member in an exchange: the names of seven fields in MessagePack, the longest name
	// and meta, and an address.
	maxNodeState = 64 + MaxName + maxMeta + 48
	// encryptionOverhead is what encryption adds: version, nonce and tag.
	encryptionOverhead = 1 + 12 + 16
	// maxStream is the longest encrypted message that a node sends, some 580 kB: an exchange. A page is shorter.
	maxStream = encryptionOverhead + 64 + maxNodes*maxNodeState + maxState
)

// encrypted is memberlist's message type for encrypted messages. The length of the message follows it.
const encrypted = 10

// encryptedHead is the length of the type and the length.
const encryptedHead = 1 + 4

// stream is a connection with another node. It receives one message, whose header is checked before memberlist reads
// any of it. One goroutine may read while another writes.
type stream struct {
	net.Conn
	gate     *gate
	outgoing bool   // this node dialled: its message has a label, and the answer has none
	labelled bool   // the label was sent
	release  func() // ends the count of the stream in the gate

	head    []byte // of the checked header: what memberlist has not read yet
	left    int64  // bytes of the message after the header that were not read
	started bool
	err     error // of the header
}

// Read implements [net.Conn].
func (s *stream) Read(p []byte) (int, error) {
	if !s.started {
		s.started = true
		if s.head, s.left, s.err = readHeader(s.Conn, s.gate.labels, s.outgoing); isRefusal(s.err) {
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

// readHeader reads the header of a message: the label, unless the message is an answer, its type and its length. It
// returns the part of the header that memberlist is to read, and how many bytes follow it.
func readHeader(r io.Reader, l *labels, answer bool) (head []byte, left int64, err error) {
	header := make([]byte, len(labelHead)+labelSize+encryptedHead)
	if answer {
		header = header[:encryptedHead]
	}
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, 0, err
	}
	head = header
	if !answer {
		if head, err = l.strip(header); err != nil {
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
		// Memberlist writes its label first, in one piece, and does not use the bytes afterwards.
		if err := s.gate.labels.write(p); err != nil {
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
