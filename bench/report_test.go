package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNumber_SeparatesThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMedian_OfOddAndEven(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three = %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four = %v", got)
	}
}

func TestLink_FloorIsRoundTripsAndBytes(t *testing.T) {
	// One handshake and two requests of 20 ms, and a million bytes at 8 Mbit/s.
	l := link{rtt: 20 * time.Millisecond, rate: 8e6}
	if got := l.floor(2, 1_000_000); got != 60+1000 {
		t.Errorf("floor = %v ms, want 1060", got)
	}
}

func TestPlot_IsXML(t *testing.T) {
	p := plot{Title: "a < b", Unit: "ms", Series: []string{"x & y", "z"}, Groups: []group{{"g", []float64{1, -1}}}}
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
	one := func(part, cell string) *report {
		return &report{
			Part:   part,
			Title:  part,
			Tables: []table{{Title: "t", Head: []string{"a"}, Rows: [][]string{{cell}}}},
		}
	}
	if err := keepReports(dir, []*report{one("delta", "first"), one("peers", "second")}); err != nil {
		t.Fatal(err)
	}
	if err := keepReports(dir, []*report{one("peers", "third")}); err != nil {
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
