package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"brink/bundle"
)

// firstVersion is what a build from before the first tag is called after.
const firstVersion = "v0.1.0"

// build says which build of the program this is. What a build does not know stays empty.
type build struct {
	Version  string `json:"version"` // 0.1.0, between two tags 0.1.0-dev+5c21307, without version control dev
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision, RFC 3339
	Modified bool   `json:"modified"`       // the tree had changes that the revision has not
	Go       string `json:"go"`
	Platform string `json:"platform"` // system/architecture
	Bundle   int    `json:"bundle_schema"`
}

func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "unknown", Bundle: bundle.Schema}
	}
	return buildOf(info)
}

// buildOf reads what the go command stamped.
func buildOf(info *debug.BuildInfo) build {
	b := build{Version: shortVersion(info.Main.Version), Go: info.GoVersion, Bundle: bundle.Schema}
	var system, architecture string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "GOOS":
			system = s.Value
		case "GOARCH":
			architecture = s.Value
		}
	}
	b.Platform = system + "/" + architecture
	return b
}

// shortVersion returns the version of the main module in the form that people read: v0.1.0 is 0.1.0, the pseudo-version
// of an untagged commit is the version that comes next, with the start of the commit's hash.
func shortVersion(stamped string) string {
	if !semver.IsValid(stamped) {
		return "dev" // (devel): a test, or a build that did not see the history
	}
	version, dirty := strings.CutSuffix(stamped, "+dirty")
	if !module.IsPseudoVersion(version) {
		if dirty {
			version += "+dirty"
		}
		return strings.TrimPrefix(version, "v")
	}
	revision, err := module.PseudoVersionRev(version)
	if err != nil {
		return "dev"
	}
	next, _, _ := strings.Cut(version, "-")
	if semver.Compare(next, firstVersion) < 0 {
		next = firstVersion
	}
	short := strings.TrimPrefix(next, "v") + "-dev+" + revision[:min(7, len(revision))]
	if dirty {
		short += "-dirty"
	}
	return short
}

func versionCommand(sh *shell) *cobra.Command {
	cmd := verb("version", "Print the version of this build",
		"Builds with the same bundle schema make the same bundle from the same files.",
		"  brink version\n  brink version --json",
		func(*cobra.Command, []string) error {
			b := readBuild()
			return sh.show(b, func(w io.Writer) {
				fmt.Fprintf(w, "brink %s (%s, %s)\n", b.Version, b.Platform, b.Go)
				pairs := []string{"bundle schema", fmt.Sprint(b.Bundle)}
				if b.Revision != "" {
					pairs = append(pairs, "revision", b.Revision, "time", b.Time)
				}
				facts(w, pairs...)
			})
		})
	sh.printsJSON(cmd)
	return cmd
}
