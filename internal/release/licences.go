package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/mod/module"
)

// collectLicences returns the licences and notices of Go, from its root, and of the modules of a binary, from the
// module cache, as one text. A module without a licence is an error: it must not be passed on.
func collectLicences(goRoot, cache string, info *buildinfo.BuildInfo) ([]byte, error) {
	var b bytes.Buffer
	if err := appendLicences(&b, "Go "+info.GoVersion, goRoot); err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		path, err := module.EscapePath(m.Path)
		if err != nil {
			return nil, err
		}
		version, err := module.EscapeVersion(m.Version)
		if err != nil {
			return nil, err
		}
		folder := filepath.Join(cache, filepath.FromSlash(path)+"@"+version)
		if err := appendLicences(&b, m.Path+" "+m.Version, folder); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// appendLicences appends the files of a folder whose names say that they are licences or notices.
func appendLicences(b *bytes.Buffer, of, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	licence, found := regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents)`), false
	for _, entry := range entries {
		if entry.IsDir() || !licence.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "==== %s: %s\n\n%s\n\n", of, entry.Name(), bytes.TrimSpace(text))
		found = true
	}
	if !found {
		return fmt.Errorf("%s has no file of its licence in %s", of, folder)
	}
	return nil
}
