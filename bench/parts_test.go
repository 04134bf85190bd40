package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"brink/bench/how"
)

func TestParts_AreTold(t *testing.T) {
	var status bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, io.Discard, &status); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("-h: %v", err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage main\n")
	told, lines := status.String(), 0
	for _, p := range parts() {
		at := strings.Index(told, "\n  "+p.name+" ")
		if at < lines {
			t.Errorf("-h does not tell of %s, or not in the order in which parts run", p.name)
		}
		lines = at
		if !strings.Contains(comment, p.name) {
			t.Errorf("the package comment does not name %s", p.name)
		}
		if !how.Has(p.name) {
			t.Errorf("nothing says how %s is measured", p.name)
		}
	}
}
