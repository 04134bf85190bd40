package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"brink/bundle"
)

// build describes this build of the program. Unknown fields are empty.
type build struct {
	Version  string `json:"version"` // of the module: a tag, a pseudo-version or "(devel)"
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision, RFC 3339
	Modified bool   `json:"modified"`       // the working tree had uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"` // system/architecture
	Bundle   int    `json:"bundle_schema"`
}

func readBuild() build {
	b := build{Version: "unknown", Bundle: bundle.Schema}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version, b.Go = info.Main.Version, info.GoVersion
	if b.Version == "" {
		b.Version = "(devel)" // a test binary
	}
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

func versionCommand(sh *shell) *cobra.Command {
	cmd := verb("version", "Print the version of this build",
		"Builds with the same bundle schema make the same bundle from the same files.",
		"  brink version\n  brink version --json",
		func(*cobra.Command, []string) error {
			b := readBuild()
			return sh.show(b, func(w io.Writer) {
				fmt.Fprintf(w, "brink %s\n", b.Version)
				pairs := []string{"go", b.Go, "platform", b.Platform, "bundle schema", fmt.Sprint(b.Bundle)}
				if b.Revision != "" {
					revision := b.Revision
					if b.Modified {
						revision += " (modified)"
					}
					pairs = append(pairs, "revision", revision, "time", b.Time)
				}
				facts(w, pairs...)
			})
		})
	sh.printsJSON(cmd)
	return cmd
}
