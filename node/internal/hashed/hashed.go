// Package hashed finds the hashes of content in the names of files, as bundlers write them (app-B7x2kQ9d.js,
// main.8f3a2b1c.css). A file of such a name never changes: what is new has a new name, and names that differ in nothing
// but the hash are of versions of one file.
//
// The invariant: it would rather miss a hash than see one where there is none, for a file that is wrongly taken for
// unchanging stays in browsers for a year.
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

// Find returns where in the path of a file the hash of its content is.
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

// Same reports whether two paths differ in nothing but the hashes that they carry.
func Same(a, b string) bool {
	if a == b {
		return true
	}
	from, to, ok := Find(a)
	start, end, also := Find(b)
	return ok && also && a[:from] == b[:start] && a[to:] == b[end:]
}

// isHash reports whether s looks like a hash and like nothing else: 8 to 64 hex digits, letters and numerals among
// them; or as many letters, numerals and underscores with a numeral and an upper-case letter beside the first.
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
