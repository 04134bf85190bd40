// Package report has what a part of the bench returns: tables, aims and plots, and the numbers in them as text.
//
// The life of one call: a part fills in a [Report], or returns [Skipped]; [Report.Text] prints it, and [Write] adds it
// to bench/results, from which it writes bench/RESULTS.md.
//
// The invariant: the results of a part that was not measured again stay as they are.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Report is the result of one part.
type Report struct {
	Part    string   `json:"part"`
	Title   string   `json:"title"`
	Machine string   `json:"machine"`
	Noise   string   `json:"noise"`
	How     []string `json:"how"` // paragraphs
	Tables  []Table  `json:"tables"`
	Aims    []Aim    `json:"aims"`
	Plots   []Plot   `json:"plots"`
}

// Part describes a part: one thing that can be measured.
type Part struct {
	Name string
	What string // it measures, for the usage text and for RESULTS.md
}

// Skipped is the error of a part, or of one of its rows, that cannot be measured on this machine.
type Skipped struct {
	Why string
}

func (s *Skipped) Error() string { return s.Why }

// Table is a table of text; the first column names its rows.
type Table struct {
	Title string     `json:"title"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Aim compares a result with what was intended.
type Aim struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// aims returns the aims as a table.
func (r *Report) aims() Table {
	t := Table{Title: "Aims", Head: []string{"aim", "wanted", "seen", ""}}
	for _, a := range r.Aims {
		verdict := "missed"
		if a.Met {
			verdict = "met"
		}
		t.Add(a.What, a.Want, a.Got, verdict)
	}
	return t
}

// tables returns all tables, that of the aims last.
func (r *Report) tables() []Table {
	if len(r.Aims) == 0 {
		return r.Tables
	}
	return append(append([]Table{}, r.Tables...), r.aims())
}

// Text writes the report as tables for a terminal.
func (r *Report) Text(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.Title)
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		widths := make([]int, len(t.Head))
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			for i, cell := range row {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
		for _, row := range append([][]string{t.Head}, t.Rows...) {
			for i, cell := range row {
				pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
				if i == 0 {
					fmt.Fprint(w, "  ", cell, pad)
				} else {
					fmt.Fprint(w, "  ", pad, cell)
				}
			}
			fmt.Fprintln(w)
		}
	}
}

// markdown writes the report for RESULTS.md.
func (r *Report) markdown(w io.Writer) {
	fmt.Fprintf(w, "## `%s`: %s\n\n", r.Part, r.Title)
	for _, p := range r.How {
		fmt.Fprintf(w, "%s\n\n", p)
	}
	fmt.Fprintf(w, "%s %s\n\n", r.Machine, r.Noise)
	for _, t := range r.tables() {
		fmt.Fprintf(
			w,
			"**%s**\n\n| %s |\n|%s\n",
			t.Title,
			strings.Join(t.Head, " | "),
			" --- |"+strings.Repeat(" ---: |", len(t.Head)-1),
		)
		for _, row := range t.Rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		}
		fmt.Fprintln(w)
	}
	for _, p := range r.Plots {
		fmt.Fprintf(w, "![%s](results/%s.svg)\n\n", p.Title, p.Name)
	}
}

// Write writes the reports and their plots to dir/results, and dir/RESULTS.md from all reports found there, so
// that one part can be measured again alone. parts are all parts, in the order of the page.
func Write(dir string, parts []Part, reports []*Report) error {
	results := filepath.Join(dir, "results")
	if err := os.MkdirAll(results, 0o755); err != nil {
		return err
	}
	for _, r := range reports {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(results, r.Part+".json"), append(raw, '\n'), 0o644); err != nil {
			return err
		}
		for _, p := range r.Plots {
			if err := os.WriteFile(filepath.Join(results, p.Name+".svg"), p.svg(), 0o644); err != nil {
				return err
			}
		}
	}
	var page strings.Builder
	page.WriteString("# Results\n\nWritten by `go run ./bench`; `docs/performance.md` explains them. " +
		"Ratios within one part hold, absolute figures are this machine's.\n\n")
	for _, p := range parts {
		raw, err := os.ReadFile(filepath.Join(results, p.Name+".json"))
		if os.IsNotExist(err) {
			fmt.Fprintf(&page, "## `%s`\n\nNot measured yet: %s.\n\n", p.Name, p.What)
			continue
		}
		if err != nil {
			return err
		}
		var r Report
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("%s.json: %w", p.Name, err)
		}
		r.markdown(&page)
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(strings.TrimRight(page.String(), "\n")+"\n"), 0o644)
}
