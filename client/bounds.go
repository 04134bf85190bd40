package client

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"brink/channel"
)

// encodingSlack is the number of bytes that an encoding may add to any archive, besides one for each 128 bytes. This is
// more than zstd needs for incompressible data (3 bytes for each block of 128 KiB), frame headers and the header of a
// patch.
const encodingSlack = 64 << 10

// maxEncoded returns the maximum size, in bytes, of the archive of a release in an encoding. Lengths from a node are
// not signed, and cannot exceed it.
func maxEncoded(release *channel.Release, encoding string) int64 {
	if encoding == "" || encoding == "identity" {
		return release.Size
	}
	return release.Size + release.Size/128 + encodingSlack
}

// tooLong returns the error for a response that is longer than the signed release allows.
func tooLong(limit int64) error {
	return fmt.Errorf("%w: it is longer than the maximum of %d bytes", ErrDamaged, limit)
}

// boundedReader returns an error if r has more than left bytes.
type boundedReader struct {
	r           io.Reader
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left > 0 || len(p) == 0 {
		n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		return n, err
	}
	var one [1]byte
	n, err := b.r.Read(one[:])
	if n > 0 {
		return 0, tooLong(b.limit)
	}
	return 0, err
}

// span is the range of bytes of a representation in a response.
type span struct {
	first, last int64
	total       int64 // of the representation; -1 if unknown
}

// parseSpan parses a Content-Range (RFC 9110, section 14.4).
func parseSpan(field string) (span, bool) {
	rest, bytes := strings.CutPrefix(field, "bytes ")
	positions, total, sized := strings.Cut(rest, "/")
	first, last, ranged := strings.Cut(positions, "-")
	if !bytes || !sized || !ranged {
		return span{}, false
	}
	var s span
	var ok [3]bool
	s.first, ok[0] = parseLength(first)
	s.last, ok[1] = parseLength(last)
	if s.total, ok[2] = parseLength(total); total == "*" {
		s.total, ok[2] = -1, true
	}
	good := ok[0] && ok[1] && ok[2] && s.first <= s.last && (s.total == -1 || s.last < s.total)
	return s, good
}

// parseLength parses a number that consists of digits only.
func parseLength(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
