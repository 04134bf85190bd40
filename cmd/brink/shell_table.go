package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table aligns rows of text in columns. The first row is the heading.
type table struct {
	align string // one letter per column: 'l' for text, 'r' for numbers
	rows  [][]string
}

// newTable returns a table of len(align) columns with the given heading.
func newTable(align string, heading ...string) *table {
	return &table{align: align, rows: [][]string{heading}}
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table, indented by two spaces and without trailing spaces.
func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.align))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			line.WriteString("  ")
			if t.align[i] == 'r' {
				line.WriteString(space + cell)
			} else {
				line.WriteString(cell + space)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// facts prints names and values in two columns.
func facts(w io.Writer, pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, utf8.RuneCountInString(pairs[i]))
	}
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(w, "  %-*s  %s\n", width, pairs[i], pairs[i+1])
	}
}

// count returns n with its noun: "1 file", "2 files".
func count[N int | int64 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", grouped(int64(n)), noun)
}

// grouped returns n with a comma between thousands.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
