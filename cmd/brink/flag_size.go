package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// size is a number of bytes as a flag: 10GiB, 500MB, 4096. Units are powers of 1000 (kB, MB, GB, TB) or of 1024 (KiB,
// MiB, GiB, TiB), in upper or lower case; numbers are integers and not negative.
type size int64

var _ pflag.Value = (*size)(nil)

var errSize = errors.New("want a size like 10GiB, 500MB or 4096 (bytes)")

type unit struct {
	name  string
	bytes int64
}

// units lists the units from the largest to the smallest.
func units() []unit {
	return []unit{
		{"TiB", 1 << 40},
		{"TB", 1e12},
		{"GiB", 1 << 30},
		{"GB", 1e9},
		{"MiB", 1 << 20},
		{"MB", 1e6},
		{"KiB", 1 << 10},
		{"kB", 1e3},
		{"B", 1},
	}
}

// parseSize parses a size. It is the inverse of [size.String].
func parseSize(text string) (size, error) {
	digits := strings.TrimRight(text, "abgikmtABGIKMT ")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, errSize
	}
	suffix := strings.TrimPrefix(text[len(digits):], " ")
	if suffix == "" {
		return size(n), nil
	}
	for _, u := range units() {
		if strings.EqualFold(u.name, suffix) {
			if int64(n) > math.MaxInt64/u.bytes {
				return 0, errSize
			}
			return size(int64(n) * u.bytes), nil
		}
	}
	return 0, errSize
}

// String formats the size in the largest unit of which it is a whole number.
func (s *size) String() string {
	for _, u := range units() {
		if *s != 0 && int64(*s)%u.bytes == 0 {
			return strconv.FormatInt(int64(*s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Set implements [pflag.Value].
func (s *size) Set(text string) (err error) {
	n, err := parseSize(text)
	if err == nil {
		*s = n
	}
	return err
}

// Type implements [pflag.Value]: it is the word that --help shows.
func (s *size) Type() string { return "SIZE" }

// human formats a number of bytes to three digits.
func human(bytes int64) string {
	for _, u := range []unit{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if bytes < u.bytes-u.bytes/2000 { // 999.5 kB and more would read as 1000 kB
			continue
		}
		n := float64(bytes) / float64(u.bytes)
		switch {
		case n >= 99.95:
			return fmt.Sprintf("%.0f %s", n, u.name)
		case n >= 9.995:
			return fmt.Sprintf("%.1f %s", n, u.name)
		}
		return fmt.Sprintf("%.2f %s", n, u.name)
	}
	return strconv.FormatInt(bytes, 10) + " B"
}
