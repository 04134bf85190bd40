package bundle

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// pattern is one of [Patterns].
type pattern struct {
	text       string // as it was given
	glob       string // in doublestar's syntax, without slashes at its ends
	base       bool   // compare the base name, at any depth
	folderOnly bool
	matched    bool
}

// Patterns match files and folders, in the form that [Folder].Exclude describes. They are not safe for concurrent use.
type Patterns []pattern

// ParsePatterns reads patterns in the form that [Folder].Exclude describes.
func ParsePatterns(texts ...string) (Patterns, error) {
	var all Patterns
	for _, text := range texts {
		x := pattern{text: text}
		x.glob, x.folderOnly = strings.CutSuffix(text, "/")
		rest, atRoot := strings.CutPrefix(strings.TrimPrefix(x.glob, "."), "/")
		if atRoot {
			x.glob = rest
		}
		x.base = !atRoot && !strings.Contains(x.glob, "/")
		switch {
		case strings.HasPrefix(text, "!"):
			return nil, fmt.Errorf("exclude pattern %q: a pattern cannot include files again", text)
		case x.glob == "", x.glob == ".":
			return nil, fmt.Errorf("exclude pattern %q: it matches the folder itself", text)
		case !doublestar.ValidatePattern(x.glob):
			return nil, fmt.Errorf("exclude pattern %q: %w", text, doublestar.ErrBadPattern)
		}
		all = append(all, x)
	}
	return all, nil
}

// Match reports whether a pattern matches the path of a file, or of a folder that it is in.
func (all Patterns) Match(file string) bool {
	for i := range file {
		if file[i] == '/' && all.match(file[:i], true) {
			return true
		}
	}
	return all.match(file, false)
}

// match reports whether a pattern matches the path of a file or folder. It marks all that do as matched.
func (all Patterns) match(name string, isFolder bool) bool {
	matches := false
	for i := range all {
		x := &all[i]
		against := name
		if x.base {
			against = path.Base(name)
		}
		if x.folderOnly && !isFolder || !doublestar.MatchUnvalidated(x.glob, against) {
			continue
		}
		x.matched, matches = true, true
	}
	return matches
}

// unused returns the patterns that matched nothing.
func (all Patterns) unused() (texts []string) {
	for i := range all {
		if !all[i].matched {
			texts = append(texts, all[i].text)
		}
	}
	return texts
}
