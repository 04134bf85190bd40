// Package scan decodes the simple JSON that devices send, many times faster than encoding/json, or fails.
//
// The life of one call: the caller opens the object, iterates over the members, and reads each value by its type.
// [Scanner.Done] then reports whether all of it was simple enough. If not, the caller discards the result and decodes
// the same text with encoding/json, which decides what it means and what is wrong with it.
//
// The invariant: if the scanner succeeds, its result equals that of encoding/json. It therefore fails on everything
// that decoders may treat differently: strings that are not printable ASCII or have escapes, null, fractions, large
// numbers, duplicate members, and names that differ from known ones only in case.
package scan

import (
	"encoding/hex"
	"strings"
)

// Scanner reads one JSON value. The strings that it returns share the memory of the text.
type Scanner struct {
	text   string
	at     int
	name   string
	opened bool // whether an object was opened and Next not called yet
	failed bool
}

// New returns a Scanner at the start of text.
func New(text string) Scanner { return Scanner{text: text} }

// Done reports whether the scanner has not failed, and only white space is left.
func (s *Scanner) Done() bool {
	s.space()
	return !s.failed && s.at == len(s.text)
}

// Open reads the start of an object.
func (s *Scanner) Open() { s.expect('{'); s.opened = true }

// Next reads the name of the next member of the object, or its end, and reports whether there is a member.
func (s *Scanner) Next() bool {
	s.space()
	first := s.opened
	s.opened = false
	switch {
	case s.failed:
		return false
	case s.at < len(s.text) && s.text[s.at] == '}':
		s.at++
		return false
	case !first:
		s.expect(',')
	}
	s.name = s.String()
	s.expect(':')
	return !s.failed
}

// Name returns the name of the member.
func (s *Scanner) Name() string { return s.name }

// String reads a string.
func (s *Scanner) String() string {
	s.expect('"')
	if s.failed {
		return ""
	}
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			value := s.text[s.at:i]
			s.at = i + 1
			return value
		case c < ' ' || c > '~' || c == '\\':
			s.failed = true
			return ""
		}
	}
	s.failed = true
	return ""
}

// Hex reads a string of lower-case hex digits into to, whose length has to match.
func (s *Scanner) Hex(to []byte) {
	text := s.String()
	if len(text) != hex.EncodedLen(len(to)) {
		s.failed = true
		return
	}
	for i := range to {
		high, low := digit(text[2*i]), digit(text[2*i+1])
		if high > 15 || low > 15 {
			s.failed = true
			return
		}
		to[i] = high<<4 | low
	}
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	s.space()
	switch rest := s.text[s.at:]; {
	case strings.HasPrefix(rest, "true"):
		s.at += len("true")
		return true
	case strings.HasPrefix(rest, "false"):
		s.at += len("false")
	default:
		s.failed = true
	}
	return false
}

// maxDigits is the number of digits that always fit into an int64.
const maxDigits = 18

// Int reads a whole number without a sign, of at most 18 digits.
func (s *Scanner) Int() (value int64) {
	s.space()
	start := s.at
	for ; s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9'; s.at++ {
		if s.at-start == maxDigits {
			s.failed = true
			return 0
		}
		value = value*10 + int64(s.text[s.at]-'0')
	}
	// A fraction or an exponent makes the next read fail.
	if s.at == start || s.text[start] == '0' && s.at > start+1 {
		s.failed = true
	}
	return value
}

// Skip skips the value of an unknown member: a string, a bool or a whole number. It fails if the name equals a known
// one except for case, because encoding/json ignores case.
func (s *Scanner) Skip(known ...string) {
	for _, name := range known {
		if len(name) == len(s.name) && strings.EqualFold(name, s.name) {
			s.failed = true
			return
		}
	}
	s.space()
	if s.at == len(s.text) {
		s.failed = true
		return
	}
	switch s.text[s.at] {
	case '"':
		_ = s.String()
	case 't', 'f':
		s.Bool()
	default:
		s.Int()
	}
}

// Once records the known member n in seen, and fails if it was recorded before.
func (s *Scanner) Once(seen *uint32, n uint) {
	if *seen&(1<<n) != 0 {
		s.failed = true
	}
	*seen |= 1 << n
}

func (s *Scanner) expect(c byte) {
	s.space()
	if s.failed || s.at == len(s.text) || s.text[s.at] != c {
		s.failed = true
		return
	}
	s.at++
}

// space skips white space (RFC 8259, section 2).
func (s *Scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}
