package semantics

import "strconv"

// Conditions are the fields of a GET or HEAD request that decide between the whole, a part, and nothing.
//
// If-Modified-Since and If-Unmodified-Since are not among them: a node sends no Last-Modified, and a server without a
// modification date must ignore both (RFC 9110, sections 13.1.3 and 13.1.4).
type Conditions struct {
	Head        bool // the method is HEAD, for which no ranges are defined (RFC 9110, section 14.2)
	IfMatch     []byte
	IfNoneMatch []byte
	IfRange     []byte
	Range       []byte
}

// Answer is how to answer: Status is 200, 206, 304, 412 or 416. With 200 and 206 the span to send is Length bytes from
// Start, and 0 <= Start, 0 <= Length, Start+Length <= Size; otherwise both are zero.
type Answer struct {
	Status int
	Start  int64
	Length int64
	Size   int64 // of the whole representation
}

// Evaluate answers a request for a representation that exists, has the entity tag given and is size bytes long. The
// order is that of RFC 9110, section 13.2.2. A tag that is empty matches nothing but an asterisk; a size that is not
// known yet is given as -1: ranges are then ignored, and the Length of the Answer is -1 too.
//
// An If-Range that is a date never matches, as no date was ever sent; the answer is then the whole.
func (c Conditions) Evaluate(tag []byte, size int64) Answer {
	if c.IfMatch != nil && !matchTags(c.IfMatch, tag, true) {
		return Answer{Status: 412, Size: size}
	}
	if c.IfNoneMatch != nil && matchTags(c.IfNoneMatch, tag, false) {
		return Answer{Status: 304, Size: size}
	}
	whole := Answer{Status: 200, Length: size, Size: size}
	if c.Head || c.Range == nil || size <= 0 {
		return whole
	}
	if c.IfRange != nil {
		if one := trim(c.IfRange); !ValidTag(one) || !strongEqual(one, tag) {
			return whole
		}
	}
	start, length, ok := parseRange(c.Range, size)
	switch {
	case !ok:
		return whole
	case length == 0:
		return Answer{Status: 416, Size: size}
	}
	return Answer{Status: 206, Start: start, Length: length, Size: size}
}

// AppendContentRange appends the value of Content-Range that belongs to the status (RFC 9110, section 14.4): the span
// for 206, the size for 416, and nothing for all others, which have no such field.
func (a Answer) AppendContentRange(dst []byte) []byte {
	switch a.Status {
	case 206:
		dst = strconv.AppendInt(append(dst, "bytes "...), a.Start, 10)
		dst = strconv.AppendInt(append(dst, '-'), a.Start+a.Length-1, 10)
	case 416:
		dst = append(dst, "bytes *"...)
	default:
		return dst
	}
	return strconv.AppendInt(append(dst, '/'), a.Size, 10)
}
