package main

import (
	"fmt"
	"strings"

	"brink/publish"
)

// folderWarning is a warning about a folder, as an error that [describe] knows.
type folderWarning struct{ publish.Warning }

func (w *folderWarning) Error() string {
	text := w.Message
	if len(w.Files) > 0 {
		text += ": " + strings.Join(w.Files, ", ")
	}
	if more := w.Count - len(w.Files); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
