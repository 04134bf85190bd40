package main

import (
	"fmt"
	"strings"

	"brink/channel"
)

// nativeLimits parses the values of --native: a platform, and the lowest and highest version of its native app that can
// run a release. Either may be missing.
func nativeLimits(values []string) (map[channel.Platform]channel.Limit, error) {
	if len(values) == 0 {
		return nil, nil //nolint:nilnil // no limits
	}
	limits := map[channel.Platform]channel.Limit{}
	for _, text := range values {
		platform, span, given := strings.Cut(text, "=")
		lowest, highest, both := strings.Cut(span, "..")
		if !given || !both || platform == "" || lowest == "" && highest == "" {
			return nil, fmt.Errorf("--native %q: want PLATFORM=MIN..MAX, such as ios=1.4.0.. or android=..2.9.9", text)
		}
		name := channel.Platform(platform)
		if _, twice := limits[name]; twice {
			return nil, fmt.Errorf("--native %q: platform %s is set twice", text, platform)
		}
		for _, version := range []string{lowest, highest} {
			if version == "" {
				continue
			}
			if err := channel.CheckVersion(version); err != nil {
				return nil, fmt.Errorf("--native %q: %w", text, err)
			}
		}
		limits[name] = channel.Limit{Min: lowest, Max: highest}
	}
	return limits, nil
}
