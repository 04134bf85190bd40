// Package digest names content by what it is.
//
// A [Digest] is the BLAKE3-256 of plain (uncompressed) bytes and is the only name that bundles, indexes, chunks and
// files have inside Brink. A [SHA256] is the second name that other protocols require (RFC 9842 identifies a dictionary
// by it). They are different types so that one cannot be used instead of the other.
//
// The life of one call: bytes go through [Sum] or a [Hasher], and the Digest is compared with the expected one before
// the bytes are used or stored. The invariant: a Digest in memory was either computed from bytes or parsed from exactly
// 64 lower-case hex digits.
package digest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

// Size is the length of a Digest and of a SHA256, in bytes.
const Size = 32

// TextSize is the length of the text form of a Digest or SHA256, in bytes.
const TextSize = 2 * Size

// ErrSyntax is returned when a text is not 64 lower-case hex digits.
var ErrSyntax = errors.New("not a digest: want 64 lower-case hex digits")

// ErrMismatch is returned when bytes do not have the expected digest.
var ErrMismatch = errors.New("digest mismatch")

// Digest is a BLAKE3-256 (https://github.com/BLAKE3-team/BLAKE3-specs) of plain bytes. The zero value names nothing.
type Digest [Size]byte

// Parse parses the text form, 64 lower-case hex digits. For anything else it returns an error that wraps [ErrSyntax].
func Parse(text string) (Digest, error) {
	var d Digest
	return d, parse(d[:], text)
}

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// Compare orders digests by their bytes: -1, 0 or +1.
func (d Digest) Compare(other Digest) int { return bytes.Compare(d[:], other[:]) }

// String returns the text form, 64 lower-case hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hex digits, for people to read. They are not unique.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// AppendText implements [encoding.TextAppender].
func (d Digest) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, d[:]), nil }

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return d.AppendText(nil) }

// UnmarshalText implements [encoding.TextUnmarshaler]; it accepts what [Parse] accepts.
func (d *Digest) UnmarshalText(text []byte) error { return parse(d[:], string(text)) }

func parse(dst []byte, text string) error {
	if len(text) != TextSize {
		return fmt.Errorf("%w, got %d characters", ErrSyntax, len(text))
	}
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%w, got %q", ErrSyntax, text)
		}
	}
	_, err := hex.Decode(dst, []byte(text))
	return err
}
