// Package corpus downloads real web apps, so that benchmarks and tests measure what developers ship and not the output
// of a generator.
//
// The apps are packages of the npm registry that contain a built web app, in consecutive versions, so every [Pair] is
// an update that was really published. The life of one release: [Fetch] downloads the package with the npm client,
// checks the tarball against the integrity value pinned in this source, unpacks the folder of the built app beside its
// destination and renames it into place; [Open] then returns the folder. Source maps are left out, because apps do not
// ship them to devices.
//
// The invariant: a release's folder exists only if it is complete and its tarball was the pinned one. To fetch a
// release again, remove its folder under bench/.corpus.
//
// The package imports nothing of Brink, so that the tests of every other package may import it.
package corpus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Folder is where the corpus lies, relative to the repository's root. Git ignores it.
const Folder = "bench/.corpus"

// ErrMissing is returned by [Open] for a release that was not fetched to this machine.
var ErrMissing = errors.New("the corpus is missing here; run: go run ./bench/corpus/fetch")

// ErrUnknown is returned by [Open] for a release that is no part of the corpus.
var ErrUnknown = errors.New("no such release in the corpus")

// Release is one version of one app.
type Release struct {
	App     string // the name of the npm package
	Version string
	// Built is the folder of the built app inside the package, slash-separated; "." is the whole package.
	Built string
	// Integrity is the registry's integrity value of the tarball: "sha512-" and base64 (W3C Subresource Integrity).
	Integrity string
}

// String returns app@version, as the npm client writes it.
func (r Release) String() string { return r.App + "@" + r.Version }

// Pair is an update that was really published: New is the version that follows Old.
type Pair struct{ Old, New Release }

// String returns "app old -> new".
func (p Pair) String() string {
	return fmt.Sprintf("%s %s -> %s", p.Old.App, p.Old.Version, p.New.Version)
}

// Releases returns the corpus: grouped by app, oldest first.
func Releases() []Release {
	return []Release{
		{
			App: "swagger-ui-dist", Version: "5.34.0", Built: ".",
			Integrity: "sha512-H6tAIjr3XqE31PbkZl0OFya1ziRLDfTwh3J6OHdumPtPCLfjTnyLeagl/55kFNZcTOz9a9QI9WP0FXldwiGJag==",
		},
		{
			App: "swagger-ui-dist", Version: "5.34.1", Built: ".",
			Integrity: "sha512-VSr8fXfI93obYaQicLJbLUKGRxDojj/SfRJDDLCioGTUBj4BK/Nj4eE9jCeCAnJxVLi7iS+08PbiZLyrQKBkJQ==",
		},
		{
			App: "swagger-ui-dist", Version: "5.35.0", Built: ".",
			Integrity: "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
		},
		{
			App: "@bull-board/ui", Version: "9.10.1", Built: "dist",
			Integrity: "sha512-1E0zbLaljf+Zhx3nDUotzsG2Dz7/4i72nWCxKkFwxfz65MKXfObo2mXWMuIDoXAeWSa3sm7hlPj3h3scts4DaQ==",
		},
		{
			App: "@bull-board/ui", Version: "9.10.2", Built: "dist",
			Integrity: "sha512-7VHpIe1XIdxlye0deOmMNbmHGVdkEy9nC/gZZitx9uZA3lLE21i92MPGHLFEvMm0Y33fAswPfvzTc3m4pQFg/Q==",
		},
		{
			App: "flowise-ui", Version: "3.1.3", Built: "build",
			Integrity: "sha512-9/XZ1p3bKfYj7EjXTP32fW0z17SMFbhZAgJ922JMF8k1dZPNAYI0zkJ/KNBa1C/1ZCWodU9a5l41W8302/dnEw==",
		},
		{
			App: "flowise-ui", Version: "3.1.4", Built: "build",
			Integrity: "sha512-Mme2jWQIVhzWr9BZ58byQ7W/I3Z6yhnZTVABElf3nNsjF7okKka9L8Xoecyg2usf3P31K7Q7hxjO49zJzDc60Q==",
		},
	}
}

// Pairs returns the consecutive releases of each app.
func Pairs() []Pair {
	var pairs []Pair
	releases := Releases()
	for i, r := range releases[1:] {
		if old := releases[i]; old.App == r.App {
			pairs = append(pairs, Pair{Old: old, New: r})
		}
	}
	return pairs
}

// Open returns the folder of the built app, to be read only. The working directory must be inside the repository, as
// it is for tests and benches. It returns [ErrMissing] if the release was not fetched and [ErrUnknown] if there is no
// such release.
func Open(app, version string) (string, error) {
	root, err := locate()
	if err != nil {
		return "", err
	}
	return open(root, app, version)
}

// Need is [Open] for tests and benches: without the release it skips, or fails where BRINK_CI=1 promises that nothing
// is missing.
func Need(tb testing.TB, app, version string) string {
	tb.Helper()
	dir, err := Open(app, version)
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("BRINK_CI") != "1":
		tb.Skip(err)
	case err != nil:
		tb.Fatal(err)
	}
	return dir
}

func open(root, app, version string) (string, error) {
	known := slices.ContainsFunc(Releases(), func(r Release) bool { return r.App == app && r.Version == version })
	if !known {
		return "", fmt.Errorf("%w: %s@%s", ErrUnknown, app, version)
	}
	dir := filepath.Join(root, filepath.FromSlash(app), version)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s@%s: %w", app, version, ErrMissing)
	} else if err != nil {
		return "", err
	}
	return dir, nil
}

// locate finds the corpus folder from anywhere inside the repository: the root is the folder that holds go.mod.
func locate() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, filepath.FromSlash(Folder)), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the corpus: %s is not inside the repository", start)
		}
	}
}
