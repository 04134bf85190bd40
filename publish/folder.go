package publish

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"brink/bundle"
)

// read makes the index of the folder.
func (s *session) read(ctx context.Context, root *os.Root, r *Request) (*bundle.Index, error) {
	exclude := slices.Clone(r.Exclude)
	if r.ExcludeWarned {
		exclude = append(exclude, unwantedPatterns()...)
	}
	var done int64
	ix, err := bundle.Folder{
		FS:      root.FS(),
		Exclude: exclude,
		Unused: func(patterns []string) {
			for _, p := range patterns {
				if slices.Contains(r.Exclude, p) {
					s.warn(r, Warning{Code: WarnUnusedPattern, Message: fmt.Sprintf("--exclude %q matches no file", p)})
				}
			}
		},
		Progress: func(_ string, size int64) {
			done += size
			s.config.Progress(Event{Stage: Reading, Done: done, Total: -1})
		},
	}.Index(ctx)
	if err != nil {
		return nil, err
	}
	s.result.Bundle, s.result.Files, s.result.Bytes = ix.Bundle(), len(ix.Files), ix.Archive.Size
	for range ix.Chunks() {
		s.result.Chunks++
	}
	return ix, nil
}

// inspect warns of what is in the folder, and refuses private keys.
func (s *session) inspect(files fs.FS, ix *bundle.Index, r *Request) error {
	warnings, err := Inspect(files, ix)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		if w.Code == WarnPrivateKey && !r.AllowPrivateKeys {
			return &PrivateKeyError{Files: w.Files}
		}
		s.warn(r, w)
	}
	return nil
}

func (s *session) warn(r *Request, w Warning) {
	s.result.Warnings = append(s.result.Warnings, w)
	if r.Warn != nil {
		r.Warn(w)
	}
}
