package tally

import (
	"fmt"
	"time"
)

// Day is a day of UTC: days since the first of January 1970.
type Day int32

// Month is a month of UTC: months since January 1970.
type Month int32

// The last day and month whose year has four digits.
const (
	maxDay   = Day(2932896)
	maxMonth = Month((9999-1970)*12 + 11)
)

// DayOf returns the day of a time. A time before 1970 or after 9999 counts as the first or the last day.
func DayOf(t time.Time) Day { return Day(min(max(t.Unix()/86400, 0), int64(maxDay))) }

// Month returns the month that the day is in.
func (d Day) Month() Month {
	t := d.Time()
	return Month((t.Year()-1970)*12 + int(t.Month()) - 1)
}

// Time returns the beginning of the day.
func (d Day) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// Time returns the beginning of the month.
func (m Month) Time() time.Time { return time.Date(1970, time.Month(m)+1, 1, 0, 0, 0, 0, time.UTC) }

// The layouts of dates, which are those of ISO 8601.
const (
	dayLayout   = "2006-01-02"
	monthLayout = "2006-01"
)

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Time().Format(dayLayout) }

// String returns the month as 2006-01.
func (m Month) String() string { return m.Time().Format(monthLayout) }

// MarshalText implements [encoding.TextMarshaler].
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalText implements [encoding.TextMarshaler].
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Day) UnmarshalText(text []byte) error {
	t, err := time.Parse(dayLayout, string(text))
	if err != nil || t.Year() < 1970 {
		return fmt.Errorf("%w: %q is not a day such as %s", ErrMalformed, text, dayLayout)
	}
	*d = DayOf(t)
	return nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Month) UnmarshalText(text []byte) error {
	t, err := time.Parse(monthLayout, string(text))
	if err != nil || t.Year() < 1970 {
		return fmt.Errorf("%w: %q is not a month such as %s", ErrMalformed, text, monthLayout)
	}
	*m = DayOf(t).Month()
	return nil
}
