package semantics

import "bytes"

// ValidTag reports whether tag is one entity tag, strong or weak, with its quotes (RFC 9110, section 8.8.3).
func ValidTag(tag []byte) bool {
	_, rest, ok := cutTag(tag)
	return ok && len(rest) == 0
}

// matchTags reports whether an If-Match or If-None-Match field has the tag of the current representation in it, or is
// an asterisk. With strong, two tags are equal only if neither is weak; without, weakness is not looked at (RFC 9110,
// section 8.8.3.2). From the first malformed member on the field is not read.
func matchTags(field, tag []byte, strong bool) bool {
	list := trim(field)
	if len(list) == 1 && list[0] == '*' {
		return true
	}
	for {
		list = trim(list)
		for len(list) > 0 && list[0] == ',' { // empty members are allowed, RFC 9110, section 5.6.1.2
			list = trim(list[1:])
		}
		one, rest, ok := cutTag(list)
		if !ok {
			return false
		}
		rest = trim(rest)
		if len(rest) > 0 && rest[0] != ',' {
			return false
		}
		if strong && strongEqual(one, tag) || !strong && bytes.Equal(opaque(one), opaque(tag)) {
			return true
		}
		list = rest
	}
}

// strongEqual is the strong comparison of RFC 9110, section 8.8.3.2.
func strongEqual(a, b []byte) bool { return !isWeak(a) && !isWeak(b) && bytes.Equal(a, b) }

// isWeak looks for the mark of weakness, which is case-sensitive (RFC 9110, section 8.8.3).
func isWeak(tag []byte) bool { return len(tag) >= 2 && tag[0] == 'W' && tag[1] == '/' }

// opaque is the tag without the mark of weakness, with its quotes.
func opaque(tag []byte) []byte {
	if isWeak(tag) {
		return tag[2:]
	}
	return tag
}

// cutTag cuts one entity tag off the front of b. A comma may stand inside the quotes, a space or a control may not.
func cutTag(b []byte) (tag, rest []byte, ok bool) {
	i := 0
	if isWeak(b) {
		i = 2
	}
	if i >= len(b) || b[i] != '"' {
		return nil, nil, false
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[:i+1], b[i+1:], true
		case c < 0x21 || c == 0x7f:
			return nil, nil, false
		}
	}
	return nil, nil, false
}
