package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

// notes returns the release notes: the section of CHANGELOG.md, and what the files are.
func (r *release) notes() (string, error) {
	raw, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	changes, err := changesOf(string(raw), r.version)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Brink %s\n\n%s\n\n## Files\n\n| file | for |\n| --- | --- |\n", r.short(), changes)
	var untried []string
	for _, t := range targets() {
		note := ""
		if !t.tried {
			note = ", built and not tried"
			untried = append(untried, t.platform())
		}
		fmt.Fprintf(&b, "| `%s` | %s%s; `%s.cdx.json` is its SBOM (CycloneDX) |\n",
			r.archive(t), t.platform(), note, r.name(t))
	}
	fmt.Fprintf(&b, "| `%s` | containers on linux/amd64 and linux/arm64, an OCI layout |\n", r.image())
	fmt.Fprintf(&b, "| `%s` | `sha256sum -c %s` checks all of them |\n\n", sumsFile, sumsFile)
	fmt.Fprintf(&b, "Tests ran on linux/amd64. **The builds for %s are untried**: they were cross-built and never run."+
		"\n\n", strings.Join(untried, ", "))
	fmt.Fprintf(&b, "Built with %s from commit %s. `make release VERSION=%s` at that commit, with the same Go,\n"+
		"makes the same archives byte for byte.\n", r.compiler, r.revision, r.version)
	return b.String(), nil
}

// changesOf returns the section of a version in the changelog. That of a pre-release is "Unreleased".
func changesOf(changelog, version string) (string, error) {
	heading := strings.TrimPrefix(version, "v")
	if semver.Prerelease(version) != "" {
		heading = "Unreleased"
	}
	section := regexp.MustCompile(`(?ms)^## ` + regexp.QuoteMeta(heading) + `\b[^\n]*\n(.*?)(^## |\z)`)
	match := section.FindStringSubmatch(changelog)
	if match == nil {
		return "", fmt.Errorf("CHANGELOG.md has no section %q: rename \"Unreleased\", or release a candidate, such as %s",
			heading, version+"-rc.1")
	}
	return strings.TrimSpace(match[1]), nil
}
