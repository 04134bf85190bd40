// Package semantics is the part of HTTP that has nothing to do with sockets: which coding a client accepts, whether its
// copy is still current, and which bytes it asked for (RFC 9110, RFC 9111, RFC 9842). All of it is pure functions on
// field values.
//
// The life of one call: the server joins the lines of each field with [Join], asks [ParseAccept] for what the client
// accepts and [Accept.Choose] for the coding, and with the entity tag and the size of that representation asks
// [Conditions.Evaluate] how to answer. The [Answer] names the status and the span of bytes to send.
//
// The invariant: for every request, the result is one that the RFC allows, the span lies inside the representation, and
// what cannot be understood leads to the full answer. Nothing is allocated, except by Join when a field came in several
// lines.
//
// A field value is a []byte. Nil means that the request has no such field; a field that is there and empty is not nil.
package semantics

import "bytes"

// Values of Vary (RFC 9110, section 12.5.5). A representation that was chosen by coding alone varies by VaryCoding; as
// soon as a dcz patch is among what could have been chosen, VaryDictionary applies to every answer, also to those
// without a patch (RFC 9842, section 6).
const (
	VaryCoding     = "Accept-Encoding"
	VaryDictionary = "Accept-Encoding, Available-Dictionary"
)

// Values of Cache-Control (RFC 9111, section 5.2.2; immutable is RFC 8246).
const (
	// CacheForever is for what is named by its digest and thus never changes: one year, the longest that caches honour.
	CacheForever = "public, max-age=31536000, immutable"
	// CacheChecked is for what changes under a constant name: it may be stored, but each use asks first.
	CacheChecked = "no-cache"
	// CacheNever is for answers to one device and for errors.
	CacheNever = "no-store"
)

// Join makes one field value of the lines of a field, in the order they came (RFC 9110, section 5.3): nil for no lines,
// the line itself for one, and a new slice for more. A field that may only stand once becomes malformed by it, which is
// the meaning it should have.
func Join(lines [][]byte) []byte {
	switch {
	case len(lines) == 0:
		return nil
	case len(lines) > 1:
		return bytes.Join(lines, []byte(", "))
	case lines[0] == nil:
		return []byte{} // the line is there, so the field must not look absent
	}
	return lines[0]
}

// member cuts the first member off a comma separated list whose members hold no quoted commas, without the white space
// around it. An empty list has one empty member.
func member(list []byte) (first, rest []byte, more bool) {
	first, rest, more = bytes.Cut(list, []byte{','})
	return trim(first), rest, more
}

// trim removes optional white space, which is spaces and tabs only (RFC 9110, section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isName reports whether b is the lower-case name, in whatever case. Unlike [bytes.EqualFold] it folds ASCII only, as
// names in HTTP do.
func isName(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
