package corpus

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoClient is returned by [Fetch] when the npm client is not installed.
var ErrNoClient = errors.New("npm is not installed; the corpus comes through it (Debian: apt-get install npm)")

// ErrIntegrity is returned by [Fetch] when a tarball is not the one that is pinned here.
var ErrIntegrity = errors.New("the tarball is not the pinned one")

// Fetch brings every release of the corpus that is not here yet, one after the other, and writes one line for each to
// progress. It asks the npm client, with the registry that client is configured for, and runs no script of a package.
// It is idempotent, and safe to be cut off at any moment or to run twice at once.
func Fetch(ctx context.Context, progress io.Writer) error {
	root, err := locate()
	if err != nil {
		return err
	}
	return fetcher{root: root, pack: npmPack, progress: progress}.fetch(ctx, Releases())
}

type fetcher struct {
	root string
	// pack puts the tarball of a release, and no other file that ends in .tgz, into the folder dst.
	pack     func(ctx context.Context, r Release, dst string) error
	progress io.Writer
}

func (f fetcher) fetch(ctx context.Context, releases []Release) error {
	for _, r := range releases {
		dir := filepath.Join(f.root, filepath.FromSlash(r.App), r.Version)
		word := "here"
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			word = "fetched"
			if err := f.fetchOne(ctx, r, dir); err != nil {
				return fmt.Errorf("fetch %s: %w", r, err)
			}
		} else if err != nil {
			return err
		}
		files, size, err := count(dir)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f.progress, "%-8s %-24s %4d files %10d bytes\n", word, r, files, size); err != nil {
			return err
		}
	}
	return nil
}

// fetchOne works in a temporary folder beside the destination and ends with a rename, so that a destination is complete
// or absent.
func (f fetcher) fetchOne(ctx context.Context, r Release, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(f.root, ".fetch-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := f.pack(ctx, r, temp); err != nil {
		return err
	}
	tarball, err := only(temp)
	if err != nil {
		return err
	}
	if err := check(tarball, r.Integrity); err != nil {
		return err
	}
	built := filepath.Join(temp, "built")
	if err := unpackFile(tarball, built, r.Built); err != nil {
		return err
	}
	if err := os.Rename(built, dir); err != nil {
		if _, absent := os.Stat(dir); absent == nil {
			return nil // another run was faster, with the same bytes
		}
		return err
	}
	return nil
}

// npmPack lets the npm client download; it also checks the registry's own integrity value.
func npmPack(ctx context.Context, r Release, dst string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return ErrNoClient
	}
	cmd := exec.CommandContext(ctx, npm, "pack", r.String(), "--pack-destination", dst,
		"--ignore-scripts", "--prefer-offline", "--loglevel=error")
	cmd.Dir = dst // away from any package.json, whose settings would count
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("npm pack: %w (is the network closed?)\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// only returns the one tarball in dir. Its name is not computed: npm's rule for it changed between versions.
func only(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", fmt.Errorf("npm pack left %d tarballs, want one", len(names))
	}
	return names[0], nil
}

func check(tarball, integrity string) error {
	file, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // opened for reading: there is nothing to lose
	hash := sha512.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != integrity {
		return fmt.Errorf("%w: %s, want %s", ErrIntegrity, got, integrity)
	}
	return nil
}

func count(dir string) (files int, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		size += info.Size()
		return nil
	})
	return files, size, err
}
