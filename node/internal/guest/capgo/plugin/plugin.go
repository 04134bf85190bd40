package plugin

import (
	"strconv"
	"strings"
)

// plugin is a version of the plugin. Its majors are those of Capacitor, and 5 to 8 grow in parallel: a feature came
// with the same minor to all of them, unless it is told otherwise.
type plugin struct {
	major, minor, patch int
}

// parsePlugin reads a version of three numbers; what stands behind them does not matter.
func parsePlugin(text string) (p plugin, ok bool) {
	text, _, _ = strings.Cut(text, "+")
	text, _, _ = strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return p, false
	}
	for i, to := range []*int{&p.major, &p.minor, &p.patch} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return plugin{}, false
		}
		*to = int(n)
	}
	return p, true
}

// from reports whether p is at or above another version.
func (p plugin) from(major, minor, patch int) bool {
	if p.major != major {
		return p.major > major
	}
	if p.minor != minor {
		return p.minor > minor
	}
	return p.patch >= patch
}

// fromParallel reports whether p has what came with a minor to the majors 5 to 8, and what is above has from the start.
func (p plugin) fromParallel(minor, patch int) bool {
	return p.major >= 5 && p.from(p.major, minor, patch) || p.major > 8
}

// isStray reports whether p is one of two versions that were published by accident: their code is that of version 4.
func (p plugin) isStray() bool { return p == plugin{9, 0, 0} || p == plugin{10, 0, 0} }

// isUnsupported reports whether p is older than the protocol. Version 0 is the plugin for Electron.
func (p plugin) isUnsupported() bool { return p.major >= 1 && p.major <= 4 }

// takesFiles reports whether p can be given a list of files in place of a zip. The earlier ones that know such lists
// take every body for brotli.
func (p plugin) takesFiles(platform string) bool {
	if platform == "android" && p.from(7, 9, 2) && !p.from(7, 18, 15) {
		return false // these hash the files with MD5
	}
	switch p.major {
	case 5:
		return p.from(5, 10, 0)
	case 6:
		return p.from(6, 25, 0)
	case 7:
		return p.from(7, 0, 35)
	default:
		return p.major >= 8 && !p.isStray()
	}
}

// remembers reports whether p keeps the channel that was chosen on the device, and names it in each check.
func (p plugin) remembers() bool {
	return p.major == 8 || !p.isStray() && p.fromParallel(34, 0)
}

// takesHex reports whether p wants sealed checksums in hex; before that they were base64.
func (p plugin) takesHex() bool { return p.major == 8 || !p.isStray() && p.fromParallel(30, 0) }

// takesBuiltIn reports whether p understands that it is to go back to what the native app came with.
func (p plugin) takesBuiltIn() bool { return p.from(6, 2, 0) || p.major == 5 && p.fromParallel(45, 0) }

// takesUnset reports whether p forgets its choice when the answer says so.
func (p plugin) takesUnset() bool { return !p.isStray() && p.fromParallel(42, 6) }

// takesText reports whether p shows the link and the comment of a release.
func (p plugin) takesText() bool { return !p.isStray() && p.fromParallel(35, 0) }

// countsFailures reports whether p says download_fail only when a download has failed, and not when there was none.
func (p plugin) countsFailures() bool {
	if p.major == 6 {
		return p.from(6, 14, 25)
	}
	return p.from(7, 17, 0) || p.major == 5 && p.fromParallel(45, 0)
}

// comparesKeys reports whether the key ID that p sends has the length that it has today.
func (p plugin) comparesKeys() bool { return p.from(8, 40, 8) || p.major < 8 && p.fromParallel(40, 8) }
