package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Number formats n with a comma between thousands.
func Number[N int | int64](n N) string {
	digits := fmt.Sprint(n)
	if n < 0 {
		return "-" + Number(-n)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// MiB formats bytes as MiB.
func MiB(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

func compact(v float64) string {
	switch {
	case v >= 1000:
		return Number(int64(v + 0.5))
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// Quantile returns the smallest value of a list that at least the share q of its values do not exceed.
func Quantile(list []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// Quantiles formats the median and the 99th percentile in milliseconds.
func Quantiles(list []time.Duration) string {
	return fmt.Sprintf("%s / %s", Millis(Quantile(list, 0.5)), Millis(Quantile(list, 0.99)))
}

// Millis formats a duration as milliseconds: with one decimal below 10, as a whole number above.
func Millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f", ms)
	}
	return Number(int64(ms + 0.5))
}

// Median returns the median of a list that is not empty.
func Median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Spread formats the median of a list with its minimum and maximum: "2 [1, 3]".
func Spread(list []float64, decimals int) string {
	format := func(v float64) string {
		if decimals == 0 {
			return Number(int64(v + 0.5))
		}
		return fmt.Sprintf("%.*f", decimals, v)
	}
	return fmt.Sprintf("%s [%s, %s]", format(Median(list)), format(slices.Min(list)), format(slices.Max(list)))
}
