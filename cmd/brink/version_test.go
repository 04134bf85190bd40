package main

import (
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"

	"brink/bundle"
)

func TestShortVersion_IsWhatPeopleRead(t *testing.T) {
	for stamped, want := range map[string]string{
		"v0.1.0":                             "0.1.0",
		"v0.1.0+dirty":                       "0.1.0+dirty",
		"v1.2.3-rc.1":                        "1.2.3-rc.1",
		"v0.0.0-20261128051821-5c21307c8bd1": "0.1.0-dev+5c21307", // before the first tag
		"v0.0.0-20261128051821-5c21307c8bd1+dirty":  "0.1.0-dev+5c21307-dirty",
		"v0.1.1-0.20261128051821-5c21307c8bd1":      "0.1.1-dev+5c21307", // after v0.1.0
		"v0.2.0-rc.1.0.20261128051821-5c21307c8bd1": "0.2.0-dev+5c21307", // after v0.2.0-rc.1
		"(devel)": "dev",
		"":        "dev",
	} {
		if got := shortVersion(stamped); got != want {
			t.Errorf("shortVersion(%q) = %q, want %q", stamped, got, want)
		}
	}
}

func TestBuildOf_ReadsTheStamp(t *testing.T) {
	got := buildOf(&debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Version: "v0.1.0"},
		Settings: []debug.BuildSetting{
			{Key: "GOARCH", Value: "arm64"},
			{Key: "GOOS", Value: "linux"},
			{Key: "vcs.revision", Value: "5c21307"},
			{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"},
		},
	})
	want := build{
		Version: "0.1.0", Revision: "5c21307", Time: "2026-01-02T03:04:05Z", Modified: true,
		Go: "go1.26.8", Platform: "linux/arm64", Bundle: bundle.Schema,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("build (-want +got):\n%s", diff)
	}
}
