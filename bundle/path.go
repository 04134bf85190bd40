package bundle

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// PathError tells which path of a bundle can not be accepted, and why.
type PathError struct {
	Path   string
	Reason string
}

// Error names the path quoted, so that invisible characters show.
func (e *PathError) Error() string { return fmt.Sprintf("path %q %s", e.Path, e.Reason) }

// CheckPath reports whether path may name a file of a bundle: relative, slash-separated, valid UTF-8, without empty,
// "." or ".." segments, backslashes or control characters, and within [MaxPath] and [MaxSegment]. It returns a
// [*PathError] or nil.
func CheckPath(path string) error {
	refuse := func(reason string) error { return &PathError{Path: path, Reason: reason} }
	switch {
	case path == "":
		return refuse("is empty")
	case len(path) > MaxPath:
		return refuse(fmt.Sprintf("is longer than %d bytes", MaxPath))
	case !utf8.ValidString(path):
		return refuse("is not valid UTF-8")
	case path[0] == '/':
		return refuse("is absolute")
	case len(path) >= 2 && path[1] == ':' && isLetter(path[0]):
		return refuse("starts with a drive letter")
	}
	for _, r := range path {
		switch {
		case r == '\\':
			return refuse("has a backslash")
		case r == 0:
			return refuse("has a NUL")
		case r < 0x20 || r == 0x7f:
			return refuse("has a control character")
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return refuse("has an empty segment")
		case segment == "." || segment == "..":
			return refuse(fmt.Sprintf("has a %q segment", segment))
		case len(segment) > MaxSegment:
			return refuse(fmt.Sprintf("has a segment longer than %d bytes", MaxSegment))
		}
	}
	return nil
}

// CheckPaths checks each path by [CheckPath], and that no two of them can meet in one place on a file system that
// ignores case or Unicode normalisation (as those of phones and desktops do), nor one be the folder of another. The
// [*PathError] names the second of the two.
func CheckPaths(paths []string) error {
	set := newPathSet(len(paths))
	for _, path := range paths {
		if err := set.add(path); err != nil {
			return err
		}
	}
	return nil
}

// pathSet holds the paths of one bundle while they come in; see [CheckPaths].
type pathSet struct {
	files   map[string]string // folded path to path
	folders map[string]string // folded folder to a path below it
}

func newPathSet(size int) *pathSet {
	return &pathSet{files: make(map[string]string, size), folders: make(map[string]string)}
}

func (s *pathSet) add(path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	key := fold(path)
	if other, taken := s.files[key]; taken {
		if other == path {
			return &PathError{Path: path, Reason: "is named twice"}
		}
		return &PathError{
			Path:   path,
			Reason: fmt.Sprintf("is the same file as %q where case or Unicode form is ignored", other),
		}
	}
	if below, taken := s.folders[key]; taken {
		return &PathError{Path: path, Reason: fmt.Sprintf("is a file where %q needs a folder", below)}
	}
	for i := strings.LastIndexByte(key, '/'); i > 0; i = strings.LastIndexByte(key[:i], '/') {
		if file, taken := s.files[key[:i]]; taken {
			return &PathError{Path: path, Reason: fmt.Sprintf("needs a folder where the file %q is", file)}
		}
		if _, known := s.folders[key[:i]]; known {
			break // and so are all above it
		}
		s.folders[key[:i]] = path
	}
	s.files[key] = path
	return nil
}

// fold maps all spellings that a case-ignoring, normalising file system may take for one name to one string.
func fold(path string) string {
	for i := range len(path) {
		if path[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(norm.NFD.String(path)))
		}
	}
	return strings.ToLower(path)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
