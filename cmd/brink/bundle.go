package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
)

func bundleCommand(sh *shell) *cobra.Command {
	return group("bundle", "Inspect and compare bundles",
		"These verbs change nothing.",
		bundleInspectCommand(sh), bundleDiffCommand(sh))
}

// indexRelease fetches the index of a release of a channel, present or past, and verifies it against the manifest.
func (sh *shell) indexRelease(cmd *cobra.Command, c channelFlags, version string) (*bundle.Index, error) {
	if c.node == "" || c.app == "" || c.channel == "" {
		return nil, (&usageError{message: "missing: DIR, or --node with --app and --channel"}).of(cmd)
	}
	if err := checkNodes(cmd, c.node); err != nil {
		return nil, err
	}
	m, err := sh.manifest(cmd.Context(), c)
	if err != nil {
		return nil, err
	}
	for r := range m.Releases() {
		if version != "" && r.Version != version {
			continue
		}
		raw, err := ask(cmd.Context(), c.node, protocol.IndexPath(r.Bundle), bundle.MaxIndex)
		if err != nil {
			return nil, err
		}
		if digest.Sum(raw) != r.Index {
			return nil, fmt.Errorf("the node's index of %s: %w", r.Bundle, digest.ErrMismatch)
		}
		return bundle.DecodeIndex(raw)
	}
	return nil, withHint(fmt.Errorf("channel %s has no version %s: %w", c.channel, version, fs.ErrNotExist),
		"brink channel history lists the versions that it has")
}

// largest is how many files bundle inspect lists without --files.
const largest = 10

func excludeFlag(cmd *cobra.Command, exclude *[]string) {
	cmd.Flags().StringArrayVar(exclude, "exclude", nil,
		"exclude files and folders that match `PATTERN`: *.map, /.git at the top, assets/**/*.map, {a,b} (repeatable)")
}

// indexFolder returns the index of the bundle made from the files in dir, and shows its progress.
func (sh *shell) indexFolder(ctx context.Context, dir string, exclude []string) (*bundle.Index, error) {
	meter := sh.meter()
	defer meter.done()
	var done int64
	return readIndex(ctx, dir, bundle.Folder{Exclude: exclude, Progress: func(_ string, n int64) {
		done += n
		meter.show("reading "+dir, done, -1)
	}})
}

// indexOf is indexFolder without progress.
func indexOf(ctx context.Context, dir string, exclude []string) (*bundle.Index, error) {
	return readIndex(ctx, dir, bundle.Folder{Exclude: exclude})
}

func readIndex(ctx context.Context, dir string, folder bundle.Folder) (*bundle.Index, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	folder.FS = root.FS()
	ix, err := folder.Index(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return ix, nil
}

// folderArchive returns the archive of the files in dir.
func folderArchive(ctx context.Context, dir string, exclude []string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var b bytes.Buffer
	if err := (bundle.Folder{FS: root.FS(), Exclude: exclude}).WriteArchive(ctx, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return b.Bytes(), nil
}
