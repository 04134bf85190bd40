package main

import "testing"

func TestShareFlag(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "5": 500, "12.5": 1250, "12.50": 1250, "0.01": 1, "100": 10_000, "100.00": 10_000, "7%": 700,
	} {
		var s shareFlag
		if err := s.Set(text); err != nil || int(s) != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
		var again shareFlag
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q comes back as %q, %v", text, s.String(), err)
		}
	}
	for _, text := range []string{"", "-1", "+5", "100.01", "101", "1e1", ".5", "1.234", "1.-1", "5 %", "99999999999"} {
		var s shareFlag
		if err := s.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, s)
		}
	}
}
