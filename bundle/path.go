package bundle

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// PathError reports a path that a bundle cannot have, and why.
type PathError struct {
	Path   string
	Reason string
}

// Error implements error. The path is quoted, so that invisible characters show.
func (e *PathError) Error() string { return fmt.Sprintf("path %q %s", e.Path, e.Reason) }

// CheckPath returns nil if a file of a bundle may have the path, and otherwise a [*PathError]. A path is relative,
// slash-separated and valid UTF-8, has no empty, "." or ".." segments, no backslashes and no control characters, and is
// within [MaxPath], [MaxSegment] and [MaxDepth].
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
	if strings.Count(path, "/") >= MaxDepth {
		return refuse(fmt.Sprintf("has more than %d segments", MaxDepth))
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

// CheckPaths checks each path by [CheckPath], and that no two of them collide on a file system that ignores case or
// Unicode normalisation (as those of phones and desktops do), and that none is a folder of another. The [*PathError]
// has the second path of a pair. It also checks that they need no more folders than [MaxFolders] allows.
func CheckPaths(paths []string) error {
	set := newPathSet(len(paths))
	for _, path := range paths {
		if err := set.add(path); err != nil {
			return err
		}
	}
	return checkFolders(paths)
}

// MaxFolders returns how many folders a bundle of that many files may have. Folders are not in the index and take no
// bytes, so without a bound a short archive could make a device create hundreds of thousands of them.
func MaxFolders(files int) int { return 4*files + 64 }

// checkFolders checks the bound of [MaxFolders]. The [*PathError] has one of the deepest paths.
func checkFolders(paths []string) error {
	if !slices.IsSorted(paths) {
		paths = slices.Sorted(slices.Values(paths))
	}
	var folders, depth int
	var last, deepest string
	for _, path := range paths {
		folders += newFolders(last, path)
		if n := strings.Count(path, "/"); n > depth {
			depth, deepest = n, path
		}
		last = path
	}
	if most := MaxFolders(len(paths)); folders > most {
		return &PathError{Path: deepest, Reason: fmt.Sprintf(
			"is in one of %d folders; a bundle of %d files may have at most %d", folders, len(paths), most)}
	}
	return nil
}

// newFolders returns how many folders path needs that the paths sorted before it did not need; last is the one
// immediately before it. Folders whose names differ only in case or Unicode form count as different: a file system may
// have both.
func newFolders(last, path string) int {
	n := strings.Count(path, "/")
	for i := 0; i < min(len(last), len(path)) && last[i] == path[i]; i++ {
		if path[i] == '/' {
			n--
		}
	}
	return n
}

// pathSet is the set of paths of one bundle that were added so far; see [CheckPaths].
type pathSet struct {
	files   map[string]string   // folded path to path
	folders map[string]struct{} // folded; at worst many more than files, so without a value
}

func newPathSet(size int) *pathSet {
	return &pathSet{files: make(map[string]string, size), folders: make(map[string]struct{})}
}

func (s *pathSet) add(path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	key := fold(path)
	if other, found := s.files[key]; found {
		if other == path {
			return &PathError{Path: path, Reason: "is listed twice"}
		}
		return &PathError{
			Path:   path,
			Reason: fmt.Sprintf("is the same file as %q where case or Unicode form is ignored", other),
		}
	}
	if _, found := s.folders[key]; found {
		return &PathError{Path: path, Reason: fmt.Sprintf("is a file where %q needs a folder", s.below(key))}
	}
	for i := strings.LastIndexByte(key, '/'); i > 0; i = strings.LastIndexByte(key[:i], '/') {
		if file, found := s.files[key[:i]]; found {
			return &PathError{Path: path, Reason: fmt.Sprintf("needs a folder where the file %q is", file)}
		}
		if _, found := s.folders[key[:i]]; found {
			break // its parents were added with it
		}
		s.folders[key[:i]] = struct{}{}
	}
	s.files[key] = path
	return nil
}

// below returns the first path in the folder with the folded name.
func (s *pathSet) below(key string) string {
	first := ""
	for folded, path := range s.files {
		if strings.HasPrefix(folded, key+"/") && (first == "" || path < first) {
			first = path
		}
	}
	return first
}

// fold maps all spellings that a case-insensitive, normalising file system may treat as one name to the same string.
func fold(path string) string {
	for i := range len(path) {
		if path[i] >= utf8.RuneSelf {
			return norm.NFC.String(cases.Fold().String(norm.NFD.String(path)))
		}
	}
	return strings.ToLower(path)
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
