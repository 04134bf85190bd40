package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// report is what one part has found.
type report struct {
	Part    string   `json:"part"`
	Title   string   `json:"title"`
	Machine string   `json:"machine"`
	Noise   string   `json:"noise"`
	How     []string `json:"how"` // paragraphs
	Tables  []table  `json:"tables"`
	Aims    []aim    `json:"aims"`
	Plots   []plot   `json:"plots"`
}

// texts say for each part how it was measured: paragraphs, with verbs for what differs from run to run.
//
//go:embed how/*.md
var texts embed.FS

// how returns the paragraphs that belong to a part.
func how(part string, args ...any) []string {
	raw, err := texts.ReadFile("how/" + part + ".md")
	if err != nil {
		panic(err) // a part without its text is an error of the program
	}
	text := string(raw)
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return strings.Split(strings.TrimSpace(text), "\n\n")
}

type table struct {
	Title string     `json:"title"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

func (t *table) add(cells ...string) { t.Rows = append(t.Rows, cells) }

// aim is something that was to be reached.
type aim struct {
	What string `json:"what"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

func (r *report) aims() table {
	t := table{Title: "Aims", Head: []string{"aim", "wanted", "seen", ""}}
	for _, a := range r.Aims {
		verdict := "missed"
		if a.Met {
			verdict = "met"
		}
		t.add(a.What, a.Want, a.Got, verdict)
	}
	return t
}

func (r *report) tables() []table {
	if len(r.Aims) == 0 {
		return r.Tables
	}
	return append(append([]table{}, r.Tables...), r.aims())
}

// text writes the report for a terminal.
func (r *report) text(w io.Writer) {
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
func (r *report) markdown(w io.Writer) {
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

// keepReports writes reports and their plots below dir, and RESULTS.md of all reports that are there.
func keepReports(dir string, reports []*report) error {
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
	for _, p := range parts() {
		raw, err := os.ReadFile(filepath.Join(results, p.name+".json"))
		if os.IsNotExist(err) {
			fmt.Fprintf(&page, "## `%s`\n\nNot measured yet: %s.\n\n", p.name, p.what)
			continue
		}
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("%s.json: %w", p.name, err)
		}
		r.markdown(&page)
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(strings.TrimRight(page.String(), "\n")+"\n"), 0o644)
}

// number writes n with a comma between thousands.
func number[N int | int64](n N) string {
	digits := fmt.Sprint(n)
	if n < 0 {
		return "-" + number(-n)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// mib writes bytes as MiB.
func mib(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
