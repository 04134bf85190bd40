package channel

import (
	"strings"

	"golang.org/x/mod/semver"
)

// Bounds of names, in bytes.
const (
	MaxOrg     = 128
	MaxApp     = 128
	MaxChannel = 64
	MaxRole    = 64
	MaxVersion = 128
)

// CheckOrg returns nil if name can name an org; see [CheckApp] for the rule.
func CheckOrg(name string) error { return checkName("org", name, MaxOrg) }

// CheckApp returns nil if name can name an app: 1 to [MaxApp] of A-Z a-z 0-9 . _ -, the first a letter or a digit, and
// dots only between other characters. So a name is one safe segment of a path or a URL, and never "." or "..". The
// error is a [*RefusedError] with [CodeMalformed].
func CheckApp(name string) error { return checkName("app", name, MaxApp) }

// CheckChannel returns nil if name can name a channel: at most [MaxChannel] bytes, otherwise as [CheckApp].
func CheckChannel(name string) error { return checkName("channel", name, MaxChannel) }

func checkName(what, name string, limit int) error {
	if len(name) == 0 || len(name) > limit {
		return malformed("%s name has %d bytes, want 1 to %d", what, len(name), limit)
	}
	if !startsName(name) || strings.HasSuffix(name, ".") {
		return malformed("%s name %q: want letters, digits, and single . _ - after the first", what, name)
	}
	return nil
}

// startsName reports whether a name may begin with text; it leaves the end open, as a pattern does.
func startsName(text string) bool {
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '-'):
		case i > 0 && c == '.' && text[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

// Pattern says which names of apps or channels a role holds: a name for itself, "*" for all, or the beginning of names
// with a "*" at its end ("com.acme.*", "beta-*"). Only a "*" at the end is a wildcard, and "com.acme.*" does not hold
// "com.acme".
type Pattern string

// Match reports whether the pattern holds name. It does not allocate.
func (p Pattern) Match(name string) bool {
	if prefix, ok := strings.CutSuffix(string(p), "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return string(p) == name
}

func (p Pattern) check(what string, limit int) error {
	prefix, wild := strings.CutSuffix(string(p), "*")
	if !wild {
		return checkName(what, prefix, limit)
	}
	if len(prefix) > limit || !startsName(prefix) {
		return malformed("%s pattern %q: want a name, the beginning of a name and one *, or *", what, p)
	}
	return nil
}

// CheckVersion returns nil if v is a semantic version (https://semver.org, version 2.0.0) of three numbers without a
// leading "v", at most [MaxVersion] bytes. The error is a [*RefusedError] with [CodeMalformed].
func CheckVersion(v string) error {
	if len(v) > MaxVersion {
		return malformed("version has %d bytes, want at most %d", len(v), MaxVersion)
	}
	// Canonical fills in numbers that are missing and drops the build part: only a full version comes back whole.
	if full := "v" + v; !semver.IsValid(full) || semver.Canonical(full)+semver.Build(full) != full {
		return refuse(CodeMalformed, "write it as three numbers without a leading v, such as 1.4.0 or 1.5.0-beta.2",
			"version %q is not a semantic version", v)
	}
	return nil
}

// CompareVersions orders versions by precedence: -1, 0 or +1. Build parts ("+5") do not count. A text that is no
// version is lower than every version. It does not allocate for versions of a common length.
func CompareVersions(a, b string) int { return semver.Compare("v"+a, "v"+b) }
