package semantics

import (
	"bytes"
	"math"
)

// parseRange reads a Range field for a representation of size bytes, size > 0 (RFC 9110, section 14.1.2). It returns
// false for what a server may ignore and this one does: another unit, several ranges, anything malformed. A length of
// zero says that the range is well formed and lies outside.
//
// Several ranges are ignored because multipart/byteranges costs more than it saves: clients of bundles resume, they do
// not skip (RFC 9110, section 14.2, allows it).
func parseRange(field []byte, size int64) (start, length int64, ok bool) {
	unit, set, has := bytes.Cut(trim(field), []byte{'='})
	if !has || !isName(unit, "bytes") {
		return 0, 0, false
	}
	var spec []byte
	for more := true; more; {
		var m []byte
		m, set, more = member(set)
		if len(m) == 0 {
			continue
		}
		if spec != nil {
			return 0, 0, false
		}
		spec = m
	}
	low, high, has := bytes.Cut(spec, []byte{'-'})
	if !has {
		return 0, 0, false
	}
	if len(low) == 0 {
		n, ok := position(high)
		if !ok {
			return 0, 0, false
		}
		n = min(n, size)
		return size - n, n, true
	}
	first, ok := position(low)
	if !ok {
		return 0, 0, false
	}
	last := int64(math.MaxInt64)
	if len(high) > 0 {
		if last, ok = position(high); !ok || last < first {
			return 0, 0, false
		}
	}
	if first >= size {
		return 0, 0, true
	}
	return first, min(last, size-1) - first + 1, true
}

// position reads decimal digits. A number too large for int64 is as good as the largest: both lie beyond every
// representation, and a client may well send one to say "to the end".
func position(digits []byte) (int64, bool) {
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + d
	}
	return n, len(digits) > 0
}
