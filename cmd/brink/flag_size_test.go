package main

import (
	"math"
	"testing"

	"brink/bench/cost"
)

func TestSize_Parse(t *testing.T) {
	for text, want := range map[string]size{
		"0": 0, "4096": 4096, "7B": 7, "10GiB": 10 << 30, "500MB": 500e6, "500mb": 500e6, "64 KiB": 64 << 10,
		"1kB": 1000, "2TB": 2e12, "3TiB": 3 << 40, "9223372036854775807": math.MaxInt64,
	} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestSize_ParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "GiB", "-1", "+1", "1.5GiB", "10G", "10GiBB", "10 GiB ", "10  GiB", "0x10", "1e6", "1_000",
		"9223372036854775808", "9007199254740992KiB", "8388608TiB", "ten",
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestSize_HumanKeepsThreeDigits(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 12_345: "12.3 kB", 123_456: "123 kB", 999_499: "999 kB", 999_500: "1.00 MB",
		9_994: "9.99 kB", 9_996: "10.0 kB", 99_949: "99.9 kB", 99_950: "100 kB",
		5_120_000: "5.12 MB", 10 << 30: "10.7 GB", 4e12: "4000 GB",
	} {
		if got := human(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"10GiB", "500MB", "4096", "64 KiB", "-1", "9223372036854775807B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n size
		var err error
		cost.Check(t, len(text), func() { n, err = parseSize(text) })
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", text, n)
		}
		if again, err := parseSize(n.String()); err != nil || again != n {
			t.Fatalf("%q is %d, which prints as %q, which is %d, %v", text, n, n.String(), again, err)
		}
	})
}
