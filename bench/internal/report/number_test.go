package report

import (
	"testing"
	"time"
)

func TestNumber_SeparatesThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := Number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMedian_OfOddAndEven(t *testing.T) {
	if got := Median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three = %v", got)
	}
	if got := Median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four = %v", got)
	}
}

func TestQuantile_IsOneOfTheList(t *testing.T) {
	list := []time.Duration{4, 1, 3, 2}
	for q, want := range map[float64]time.Duration{0.01: 1, 0.5: 2, 0.51: 3, 0.99: 4, 1: 4} {
		if got := Quantile(list, q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
}
