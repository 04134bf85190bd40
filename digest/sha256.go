package digest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// SHA256 is a SHA-256 of plain bytes: the name that RFC 9842 and other update protocols use.
type SHA256 [Size]byte

// ParseSHA256 parses the text form, 64 lower-case hex digits. For anything else it returns an error that wraps
// [ErrSyntax].
func ParseSHA256(text string) (SHA256, error) {
	var s SHA256
	return s, parse(s[:], text)
}

// ParseField parses the form used in an HTTP structured field, a byte sequence (RFC 9651, section 3.3.5): base64
// between two colons, as in Available-Dictionary (RFC 9842, section 2.2). For anything else it returns an error that
// wraps [ErrSyntax].
func ParseField(field string) (SHA256, error) {
	var s SHA256
	text := strings.TrimSpace(field)
	if len(text) < 2 || text[0] != ':' || text[len(text)-1] != ':' {
		return s, fmt.Errorf("%w, or base64 between colons", ErrSyntax)
	}
	raw, err := base64.StdEncoding.DecodeString(text[1 : len(text)-1])
	if err != nil || len(raw) != Size {
		return s, fmt.Errorf("%w, or base64 of 32 bytes between colons", ErrSyntax)
	}
	return SHA256(raw), nil
}

// Field returns the structured field form, base64 between two colons.
func (s SHA256) Field() string { return ":" + base64.StdEncoding.EncodeToString(s[:]) + ":" }

// IsZero reports whether s names nothing.
func (s SHA256) IsZero() bool { return s == SHA256{} }

// String returns the text form, 64 lower-case hex digits.
func (s SHA256) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (s SHA256) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; it accepts what [ParseSHA256] accepts.
func (s *SHA256) UnmarshalText(text []byte) error { return parse(s[:], string(text)) }
