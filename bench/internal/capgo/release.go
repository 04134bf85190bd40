package capgo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"brink/bench/corpus"
	"brink/bench/internal/report"
	"brink/bundle"
	"brink/digest"
)

// appRelease is a release to which devices are updated.
type appRelease struct {
	version string
	dir     string
	bundle  digest.Digest
	files   int
	bytes   int64
}

// sources returns the pair of releases whose files are used.
func sources() corpus.Pair { return corpus.Pairs()[len(corpus.Pairs())-1] }

// cutReleases makes the releases from the largest files of the corpus's.
func (c *bench) cutReleases(ctx context.Context) error {
	pair := sources()
	for i, from := range []corpus.Release{pair.Old, pair.New, pair.Old} {
		source, err := corpus.Open(from.App, from.Version)
		if errors.Is(err, corpus.ErrMissing) {
			return &report.Skipped{Why: err.Error()}
		}
		if err != nil {
			return err
		}
		r := appRelease{version: fmt.Sprintf("1.%d.0", i%2+1), dir: filepath.Join(c.Dir, fmt.Sprint("release", i))}
		ix, err := bundle.Folder{FS: os.DirFS(source)}.Index(ctx)
		if err != nil {
			return err
		}
		for _, f := range largest(ix.Files, maxFiles, maxFileSize) {
			raw, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(f.Path)))
			if err != nil {
				return err
			}
			to := filepath.Join(r.dir, filepath.FromSlash(f.Path))
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, raw, 0o600)); err != nil {
				return err
			}
			r.files++
			r.bytes += f.Size
		}
		if i == 2 { // the plugin would remove the end of this name, so the node offers the zip
			if err := os.WriteFile(filepath.Join(r.dir, "zip.br"), []byte("no brotli"), 0o600); err != nil {
				return err
			}
		}
		if ix, err = (bundle.Folder{FS: os.DirFS(r.dir)}).Index(ctx); err != nil {
			return err
		}
		r.bundle = ix.Bundle()
		c.releases[i] = r
	}
	return nil
}

// largest returns the n largest files of at most most bytes, the largest first, those of equal size by path.
func largest(files []bundle.File, n int, most int64) []bundle.File {
	list := slices.DeleteFunc(slices.Clone(files), func(f bundle.File) bool { return f.Size > most })
	slices.SortFunc(list, func(a, b bundle.File) int {
		if a.Size != b.Size {
			return int(b.Size - a.Size)
		}
		return strings.Compare(a.Path, b.Path)
	})
	return list[:min(n, len(list))]
}
