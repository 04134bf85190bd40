// Package how contains the texts that say how each part of the bench measures.
//
// The life of one call: a part calls [Paragraphs] with the figures of this run, and puts the result into its report.
//
// The invariant: each part of the bench has a text of its name.
package how

import (
	"embed"
	"fmt"
	"strings"
)

// texts are Markdown paragraphs, with formatting verbs for the figures that differ from run to run.
//
//go:embed *.md
var texts embed.FS

// Has reports whether there is a text for a part.
func Has(part string) bool {
	_, err := texts.ReadFile(part + ".md")
	return err == nil
}

// Paragraphs returns the text of a part, formatted with args. It panics if there is none, which is a bug.
func Paragraphs(part string, args ...any) []string {
	raw, err := texts.ReadFile(part + ".md")
	if err != nil {
		panic(err)
	}
	text := string(raw)
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return strings.Split(strings.TrimSpace(text), "\n\n")
}
