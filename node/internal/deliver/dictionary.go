package deliver

import (
	"bytes"
	"sort"
	"strings"

	"brink/bundle"
	"brink/node/internal/hashed"
	"brink/node/internal/represent"
	"brink/node/internal/serve"
)

// OfferDictionary sets the field that lets a browser store the answer, the file f, as a dictionary (RFC 9842, section
// 2.1.1). It is for paths that differ only in the hash in the name, and in the bundle if ofBundle is set.
func OfferDictionary(r *serve.Request, ix *bundle.Index, f *bundle.File, ofBundle bool) {
	if f.Size < represent.Smallest {
		return
	}
	match, path := append(make([]byte, 0, 256), `match="`...), r.URI().PathOriginal()
	if ofBundle {
		before, rest, _ := bytes.Cut(path, []byte("/bundles/"))
		match = append(append(match, before...), "/bundles/*"...)
		path = rest[max(bytes.IndexByte(rest, '/'), 0):]
	}
	if special(path) {
		return
	}
	if from, to, ok := hashed.Find(f.Path); ok {
		before, found := bytes.CutSuffix(path, []byte(f.Path[from:]))
		if !found || shared(ix, f, f.Path[:from]) {
			return
		}
		match = append(append(append(match, before...), '*'), f.Path[to:]...)
	} else {
		match = append(match, path...)
	}
	r.Response.Header.SetBytesV("Use-As-Dictionary", append(match, '"'))
}

// special reports whether a path has a character that is special in URL patterns, or not allowed in a string of a
// field.
func special(path []byte) bool {
	for _, c := range path {
		switch c {
		case '"', '\\', '*', '+', ':', '?', '(', ')', '{', '}':
			return true
		}
		if c <= ' ' || c > '~' {
			return true
		}
	}
	return false
}

// shared reports whether the name of another file has the same pattern: then it is unknown which of the two is the
// previous version of a later file. prefix is the part of the path before the hash.
func shared(ix *bundle.Index, f *bundle.File, prefix string) bool {
	first := sort.Search(len(ix.Files), func(i int) bool { return ix.Files[i].Path >= prefix })
	for i := first; i < len(ix.Files) && strings.HasPrefix(ix.Files[i].Path, prefix); i++ {
		other := &ix.Files[i]
		if other != f && other.Size >= represent.Smallest && hashed.Same(other.Path, f.Path) {
			return true
		}
	}
	return false
}
