// Package hashed finds hashes of content in file names, as bundlers write them (app-B7x2kQ9d.js, main.8f3a2b1c.css). A
// file with such a name never changes: its next version has a new name, which differs only in the hash.
//
// The invariant: false negatives are acceptable, false positives are not, because browsers cache a file with a hash for
// a year.
package hashed

import (
	"path"
	"strings"
)

// Pattern returns the path of a file with an asterisk in place of the hash in its name, and false if there is none.
func Pattern(name string) (pattern string, ok bool) {
	from, to, ok := Find(name)
	if !ok {
		return "", false
	}
	return name[:from] + "*" + name[to:], true
}

// Find returns the position of the hash in the path of a file.
func Find(name string) (from, to int, ok bool) {
	_, base := path.Split(name)
	dir := len(name) - len(base)
	dot := strings.LastIndexByte(base, '.')
	if dot < 0 {
		return 0, 0, false
	}
	// The hash is the last part before the extension, or before two of them as in .js.map and .min.js.
	for range 2 {
		for _, separator := range []string{".", "-"} {
			if at := strings.LastIndex(base[:dot], separator); at >= 0 && isHash(base[at+1:dot]) {
				return dir + at + 1, dir + dot, true
			}
		}
		if dot = strings.LastIndexByte(base[:dot], '.'); dot < 0 {
			break
		}
	}
	return 0, 0, false
}

// Same reports whether two paths are equal or differ only in their hashes.
func Same(a, b string) bool {
	if a == b {
		return true
	}
	from, to, ok := Find(a)
	start, end, also := Find(b)
	return ok && also && a[:from] == b[:start] && a[to:] == b[end:]
}

// isHash reports whether s is very likely a hash: 8 to 64 lower-case hex digits, with both letters and numerals; or 8
// to 64 letters, numerals and underscores, with a numeral, and an upper-case letter that is not the first.
func isHash(s string) bool {
	if len(s) < 8 || len(s) > 64 {
		return false
	}
	hex, numerals, lower, upper := true, 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			numerals++
		case c >= 'a' && c <= 'z':
			lower++
			hex = hex && c <= 'f'
		case c >= 'A' && c <= 'Z':
			hex = false
			if i > 0 {
				upper++
			}
		case c == '_':
			hex = false
		default:
			return false
		}
	}
	if hex {
		return numerals > 0 && lower > 0
	}
	return numerals > 0 && upper > 0
}
