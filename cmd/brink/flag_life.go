package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"brink/publish"
)

// life is how long a signed document is valid, as a flag: 90d, 36h, 1h30m, or never. Zero means not set.
type life time.Duration

var _ pflag.Value = (*life)(nil)

var errLife = errors.New("want a time like 90d, 36h or 30m, or never")

// maxDays limits days: more than a century is a mistake.
const maxDays = 36500

// Set implements [pflag.Value].
func (l *life) Set(text string) error {
	if text == "never" {
		*l = life(publish.Forever)
		return nil
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.Atoi(number)
		if err != nil || days < 1 || days > maxDays {
			return errLife
		}
		*l = life(time.Duration(days) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		return errLife
	}
	*l = life(d)
	return nil
}

// String formats whole days as days.
func (l *life) String() string {
	switch d := time.Duration(*l); {
	case d == 0:
		return ""
	case d == publish.Forever:
		return "never"
	case d%(24*time.Hour) == 0:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	default:
		return d.String()
	}
}

// Type names the value in the help.
func (l *life) Type() string { return "TIME" }

// from returns when a document that is signed now expires; zero means never.
func (l *life) from(now time.Time) time.Time {
	if d := time.Duration(*l); d > 0 {
		return now.Add(d)
	}
	return time.Time{}
}
