package plugin

import (
	"strconv"
	"strings"
)

// plugin is a version of the plugin. Its majors are those of Capacitor, and 5 to 8 are developed in parallel: a feature
// is in the same minor of all of them, unless noted otherwise.
type plugin struct {
	major, minor, patch int
}

// parsePlugin parses a version of three numbers, and ignores suffixes.
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

// fromParallel reports whether p has a feature that is in a minor of the majors 5 to 8, and in all higher majors.
func (p plugin) fromParallel(minor, patch int) bool {
	return p.major >= 5 && p.from(p.major, minor, patch) || p.major > 8
}

// isStray reports whether p is one of two versions that were published by accident: their code is that of version 4.
func (p plugin) isStray() bool { return p == plugin{9, 0, 0} || p == plugin{10, 0, 0} }

// isUnsupported reports whether p is older than the protocol. Version 0 is the plugin for Electron.
func (p plugin) isUnsupported() bool { return p.major >= 1 && p.major <= 4 }

// takesFiles reports whether p accepts a list of files instead of a zip. Earlier versions with such lists decode every
// body as brotli.
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

// remembers reports whether p stores the channel that was chosen on the device, and sends it in each check.
func (p plugin) remembers() bool {
	return p.major == 8 || !p.isStray() && p.fromParallel(34, 0)
}

// takesHex reports whether p expects sealed checksums in hex; earlier versions expect base64.
func (p plugin) takesHex() bool { return p.major == 8 || !p.isStray() && p.fromParallel(30, 0) }

// takesBuiltIn reports whether p understands an answer to return to the built-in.
func (p plugin) takesBuiltIn() bool { return p.from(6, 2, 0) || p.major == 5 && p.fromParallel(45, 0) }

// takesUnset reports whether p removes its choice if the answer has "unset".
func (p plugin) takesUnset() bool { return !p.isStray() && p.fromParallel(42, 6) }

// takesText reports whether p shows the link and the comment of a release.
func (p plugin) takesText() bool { return !p.isStray() && p.fromParallel(35, 0) }

// countsFailures reports whether p sends download_fail only if a download has failed, and not if there was no update.
func (p plugin) countsFailures() bool {
	if p.major == 6 {
		return p.from(6, 14, 25)
	}
	return p.from(7, 17, 0) || p.major == 5 && p.fromParallel(45, 0)
}

// comparesKeys reports whether the key ID that p sends has the current length.
func (p plugin) comparesKeys() bool { return p.from(8, 40, 8) || p.major < 8 && p.fromParallel(40, 8) }
