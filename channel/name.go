package channel

import (
	"fmt"
	"slices"
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

// CheckOrg returns nil if name is a valid name of an org, under the rules of [CheckApp].
func CheckOrg(name string) error { return checkName("org", name, MaxOrg) }

// CheckApp returns nil if name is a valid name of an app: 1 to [MaxApp] of A-Z a-z 0-9 . _ -, the first a letter or a
// digit, and dots only between other characters. So a name is a safe segment of a path or a URL, and never "." or "..".
// The error is a [*RefusedError] with [CodeMalformed].
func CheckApp(name string) error { return checkName("app", name, MaxApp) }

// CheckChannel returns nil if name is a valid name of a channel: at most [MaxChannel] bytes, otherwise as [CheckApp].
func CheckChannel(name string) error { return checkName("channel", name, MaxChannel) }

func checkName(what, name string, limit int) error {
	if len(name) == 0 || len(name) > limit {
		return malformed("%s name has %d bytes, want 1 to %d", what, len(name), limit)
	}
	if !isNamePrefix(name) || strings.HasSuffix(name, ".") {
		return malformed("%s name %q: want letters, digits, and single . _ - after the first", what, name)
	}
	return nil
}

// isNamePrefix reports whether a valid name can start with text.
func isNamePrefix(text string) bool {
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

// Pattern matches names of apps or channels: a name matches itself, "*" matches all, and a prefix with a "*" at its end
// matches the names that start with it ("com.acme.*", "beta-*"). Only a "*" at the end is a wildcard, and "com.acme.*"
// does not match "com.acme".
type Pattern string

// Match reports whether the pattern matches name. It does not allocate.
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
	if len(prefix) > limit || !isNamePrefix(prefix) {
		return malformed("%s pattern %q: want a name, the start of a name and one *, or *", what, p)
	}
	return nil
}

// CheckVersion returns nil if v is a semantic version (https://semver.org, version 2.0.0) of three numbers without a
// leading "v", at most [MaxVersion] bytes. The error is a [*RefusedError] with [CodeMalformed].
func CheckVersion(v string) error {
	if len(v) > MaxVersion {
		return malformed("version has %d bytes, want at most %d", len(v), MaxVersion)
	}
	// Canonical adds missing numbers and drops the build part, so only a full version is unchanged.
	if full := "v" + v; !semver.IsValid(full) || semver.Canonical(full)+semver.Build(full) != full {
		return refuse(CodeMalformed, versionHint(v), "version %q is not a semantic version", v)
	}
	return nil
}

// versionHint returns what to change in a text that is not a semantic version.
func versionHint(v string) string {
	core, _, _ := strings.Cut(v, "+")
	core, prerelease, _ := strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	isNumber := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	leadingZero := func(s string) bool { return len(s) > 1 && s[0] == '0' && isNumber(s) }
	switch {
	case strings.TrimSpace(v) != v:
		return "remove the space before or after it"
	case strings.HasPrefix(v, "v") || strings.HasPrefix(v, "V"):
		return "write it without the leading v, such as 1.4.0"
	case len(numbers) == 3 && slices.ContainsFunc(numbers, leadingZero):
		return "write its numbers without leading zeros, such as 2024.5.1"
	case len(numbers) == 3 && slices.ContainsFunc(strings.Split(prerelease, "."), leadingZero):
		return "a part of the prerelease that has only digits must not start with 0: add a letter, such as 1.4.0-g0123456"
	case len(numbers) != 3 && !slices.ContainsFunc(numbers, func(s string) bool { return !isNumber(s) }):
		return fmt.Sprintf("it has %d numbers, want three, such as 1.4.0", len(numbers))
	}
	return "write it as three numbers, such as 1.4.0 or 1.5.0-beta.2"
}

// CompareVersions orders versions by precedence: -1, 0 or +1. It ignores build parts ("+5"). An invalid version is
// lower than every valid one. It does not allocate for versions of usual length.
func CompareVersions(a, b string) int { return semver.Compare("v"+a, "v"+b) }
