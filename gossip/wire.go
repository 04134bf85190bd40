package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"brink/digest"
)

// The messages between nodes, inside memberlist's messages, which are encrypted and authenticated. Numbers are
// big-endian; a text is its length in one byte and its bytes.
//
//	state     version, 256 sums of 8 bytes, name of the sender. Both sides of an exchange send it
//	broadcast version, 'b', name of the holder, pointer
//	list      version, 'l', name of the sender, sections: all pointers of the sender in each range
//	offer     version, 'o', name of the sender, pointers: those of the sender that the list lacked
//	section   lowest and highest hash of 8 bytes, both included and of one bucket; count of 2 bytes; pointers
//	pointer   kind of 1 byte, sequence of 8 bytes, digest of 32 bytes, name
//
// A node skips pointers with unknown kinds or invalid names, and refuses other versions.
const wireVersion = 1

// Types of messages.
const (
	broadcastType = 'b'
	listType      = 'l'
	offerType     = 'o'
)

// Bounds of messages, in bytes.
const (
	// minPointer and maxPointer are the lengths of pointers with the shortest and the longest name.
	minPointer = 1 + 8 + digest.Size + 1 + 1
	maxPointer = 1 + 8 + digest.Size + 1 + maxPointerName
	// maxBroadcast is 302. A broadcast has less than 200 if "app/channel" and the name of the holder have less than 155
	// together. With the longest names, four broadcasts fit into a packet of 1400.
	maxBroadcast = 2 + 1 + MaxName + maxPointer
	// stateHead is the length of a state without its name.
	stateHead = 1 + 8*buckets
	maxState  = stateHead + 1 + MaxName
	// pageSize is the length after which a list or an offer continues in another page, and maxPage is the limit of a page.
	// A page has some 900 pointers with names of 30 bytes.
	pageSize = 64 << 10
	maxPage  = 2 * pageSize
	// sectionHead is the length of a section without its pointers.
	sectionHead = 8 + 8 + 2
)

// errWire is returned for malformed messages.
var errWire = errors.New("not a message of this version")

func appendText(b []byte, text string) []byte { return append(append(b, byte(len(text))), text...) }

func appendPointer(b []byte, p Pointer) []byte {
	b = append(b, byte(p.Kind))
	b = binary.BigEndian.AppendUint64(b, p.Sequence)
	b = append(b, p.Digest[:]...)
	return appendText(b, p.Name)
}

// pointerSize returns the number of bytes that appendPointer appends.
func pointerSize(p Pointer) int { return minPointer - 1 + len(p.Name) }

func encodeBroadcast(p Pointer, holder string) []byte {
	return appendPointer(appendText([]byte{wireVersion, broadcastType}, holder), p)
}

func appendState(b []byte, s *sums, sender string) []byte {
	b = append(b, wireVersion)
	for _, sum := range s {
		b = binary.BigEndian.AppendUint64(b, sum)
	}
	return appendText(b, sender)
}

func appendSection(b []byte, s section) []byte {
	b = binary.BigEndian.AppendUint64(b, s.lo)
	b = binary.BigEndian.AppendUint64(b, s.hi)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.pointers)))
	for _, p := range s.pointers {
		b = appendPointer(b, p)
	}
	return b
}

// section has all pointers of a node whose keys have hashes from lo to hi, both included and of the same bucket.
type section struct {
	lo, hi   uint64
	pointers []Pointer
}

// message is a message of another node, decoded and checked. Its pointers have known kinds and valid names.
type message struct {
	kind     byte   // one of the types
	sender   string // or holder, in a broadcast
	sections []section
	pointers []Pointer // of an offer or a broadcast
}

// reader decodes a message. After the first error its methods return zero values.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.err, r.rest = errWire, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uint16() int {
	if b := r.bytes(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) text() string { return string(r.bytes(int(r.byte()))) }

// node reads the name of a node.
func (r *reader) node() string {
	name := r.text()
	if r.err == nil {
		r.err = checkName("node", name)
	}
	return name
}

// pointer reads a pointer, and returns false for one with an unknown kind or an invalid name. The rest of the message
// is still used: it may come from a newer version.
func (r *reader) pointer() (Pointer, bool) {
	p := Pointer{Kind: Kind(r.byte()), Sequence: r.uint64()}
	copy(p.Digest[:], r.bytes(digest.Size))
	p.Name = r.text()
	if r.err != nil || p.check() != nil {
		return Pointer{}, false
	}
	return p, true
}

// parseMessage parses a broadcast, a list or an offer. The result has no reference to b.
func parseMessage(b []byte) (message, error) {
	r := &reader{rest: b}
	version := r.byte()
	m := message{kind: r.byte(), sender: r.node()}
	if version != wireVersion {
		return message{}, fmt.Errorf("%w: version %d", errWire, version)
	}
	switch m.kind {
	case broadcastType:
		if p, ok := r.pointer(); ok {
			m.pointers = append(m.pointers, p)
		}
		if len(r.rest) > 0 {
			r.err = errWire
		}
	case offerType:
		for len(r.rest) > 0 {
			if p, ok := r.pointer(); ok {
				m.pointers = append(m.pointers, p)
			}
		}
	case listType:
		for len(r.rest) > 0 {
			m.sections = append(m.sections, r.section())
		}
	default:
		return message{}, fmt.Errorf("%w: type %d", errWire, m.kind)
	}
	if r.err != nil {
		return message{}, r.err
	}
	return m, nil
}

func (r *reader) section() section {
	s := section{lo: r.uint64(), hi: r.uint64()}
	count := r.uint16()
	if s.lo > s.hi || s.lo>>56 != s.hi>>56 || count > len(r.rest)/minPointer {
		r.err, r.rest = errWire, nil
		return section{}
	}
	for range count {
		p, ok := r.pointer()
		if !ok {
			continue
		}
		if h := p.key().hash(); h < s.lo || h > s.hi {
			r.err, r.rest = errWire, nil
			return section{}
		}
		s.pointers = append(s.pointers, p)
	}
	return s
}

// parseState parses what [appendState] wrote.
func parseState(b []byte) (s sums, sender string, err error) {
	r := &reader{rest: b}
	version := r.byte()
	for i := range s {
		s[i] = r.uint64()
	}
	sender = r.node()
	if r.err == nil && (version != wireVersion || len(r.rest) > 0) {
		r.err = errWire
	}
	return s, sender, r.err
}
