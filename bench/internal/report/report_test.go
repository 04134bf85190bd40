package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlot_IsXML(t *testing.T) {
	p := Plot{Title: "a < b", Unit: "ms", Series: []string{"x & y", "z"}, Groups: []Group{{"g", []float64{1, -1}}}}
	for d := xml.NewDecoder(bytes.NewReader(p.svg())); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A part that is run alone replaces its own results and leaves the others.
func TestKeepReports_KeepsWhatWasNotRunAgain(t *testing.T) {
	dir := t.TempDir()
	one := func(part, cell string) *Report {
		return &Report{
			Part:   part,
			Title:  part,
			Tables: []Table{{Title: "t", Head: []string{"a"}, Rows: [][]string{{cell}}}},
		}
	}
	parts := []Part{{Name: "delta"}, {Name: "peers"}}
	if err := Write(dir, parts, []*Report{one("delta", "first"), one("peers", "second")}); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, parts, []*Report{one("peers", "third")}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	if !strings.Contains(page, "first") || strings.Contains(page, "second") || !strings.Contains(page, "third") {
		t.Errorf("page is\n%s", page)
	}
}
