package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/digest"
	"brink/protocol"
)

func bundleCommand(sh *shell) *cobra.Command {
	return group("bundle", "Look at bundles",
		"These verbs read folders and change nothing.",
		bundleInspectCommand(sh), bundleDiffCommand(sh))
}

// inspection is what bundle inspect prints.
type inspection struct {
	Bundle      digest.Digest   `json:"bundle"`
	SHA256      digest.SHA256   `json:"sha256"`
	Schema      int             `json:"schema"`
	Files       int             `json:"files"`
	Bytes       int64           `json:"bytes"`         // of all files
	Archive     int64           `json:"archive_bytes"` // of the archive
	Index       int64           `json:"index_bytes"`   // of the encoded index
	IndexDigest digest.Digest   `json:"index"`
	Chunks      int             `json:"chunks"`       // distinct ones
	Unique      int64           `json:"unique_bytes"` // in distinct chunks
	List        []inspectedFile `json:"list"`
}

type inspectedFile struct {
	Path   string        `json:"path"`
	Bytes  int64         `json:"bytes"`
	Digest digest.Digest `json:"digest"`
	Chunks int           `json:"chunks"`
}

func inspect(ix *bundle.Index) inspection {
	encoded := ix.Encode()
	in := inspection{
		Bundle: ix.Bundle(), SHA256: ix.Archive.SHA256, Schema: ix.Schema, Files: len(ix.Files),
		Archive: ix.Archive.Size, Index: int64(len(encoded)), IndexDigest: digest.Sum(encoded),
	}
	for i := range ix.Files {
		f := &ix.Files[i]
		in.Bytes += f.Size
		in.List = append(in.List, inspectedFile{Path: f.Path, Bytes: f.Size, Digest: f.Digest, Chunks: len(f.ChunkList())})
	}
	for c := range ix.Chunks() {
		in.Chunks++
		in.Unique += c.Size
	}
	return in
}

func bundleInspectCommand(sh *shell) *cobra.Command {
	var exclude []string
	var c channelFlags
	var version string
	var all bool
	cmd := verb("inspect [DIR]", "Tell what is in a bundle",
		`The folder is read as publish reads it: what you see is what would be published, and a name that could not be
is an error here too. The identity of the bundle depends on the files alone, not on the machine or the day.

With --node, --app and --channel instead of DIR it tells what is in the release that the channel serves, or in the
--version of its history. The node's index is checked against the signed channel manifest.`,
		`
  brink bundle inspect ./www
  brink bundle inspect ./www --exclude '*.map' --files
  brink bundle inspect --node http://127.0.0.1:8080 --app com.acme.shop --channel production
  brink bundle inspect ./www --json | jq -r .bundle`,
		func(cmd *cobra.Command, args []string) (err error) {
			var ix *bundle.Index
			if len(args) == 1 {
				ix, err = sh.indexFolder(cmd.Context(), args[0], exclude)
			} else {
				ix, err = sh.indexRelease(cmd, c, version)
			}
			if err != nil {
				return err
			}
			in := inspect(ix)
			return sh.show(in, func(w io.Writer) { in.text(w, all) })
		})
	cmd.Args = upTo("DIR")
	excludeFlag(cmd, &exclude)
	flags := cmd.Flags()
	flags.BoolVar(&all, "files", false, "list every file, not just the largest")
	flags.StringVar(&c.node, "node", "", "`URL` of a node to ask instead of reading DIR")
	flags.StringVar(&c.app, "app", "", "`NAME` of the app on the node")
	flags.StringVar(&c.channel, "channel", "", "`NAME` of the channel on the node")
	flags.StringVar(&version, "version", "", "`VERSION` in the channel's history (the one it serves unless given)")
	c.addTrust(cmd)
	sh.printsJSON(cmd)
	return cmd
}

// indexRelease returns the index of a release that a channel serves or has served, checked against the manifest.
func (sh *shell) indexRelease(cmd *cobra.Command, c channelFlags, version string) (*bundle.Index, error) {
	if c.node == "" || c.app == "" || c.channel == "" {
		return nil, (&usageError{message: "DIR missing, or --node with --app and --channel"}).of(cmd)
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
		"brink channel history lists those that it has")
}

// largest is how many files bundle inspect lists unless it is asked for all.
const largest = 10

func (in inspection) text(w io.Writer, all bool) {
	fmt.Fprintf(w, "bundle %s\n", in.Bundle)
	facts(w,
		"files", fmt.Sprintf("%s, %s", count(in.Files, "file"), human(in.Bytes)),
		"archive", human(in.Archive),
		"chunks", fmt.Sprintf("%s, %s", count(in.Chunks, "distinct chunk"), human(in.Unique)),
		"index", human(in.Index),
	)
	list := slices.Clone(in.List)
	if !all && len(list) > largest {
		slices.SortStableFunc(list, func(a, b inspectedFile) int { return int(b.Bytes - a.Bytes) })
		list = list[:largest]
		fmt.Fprintln(w)
		fmt.Fprintf(w, "the %d largest files (--files lists all):\n", largest)
	} else {
		fmt.Fprintln(w)
	}
	t := newTable("rrl", "SIZE", "CHUNKS", "PATH")
	for _, f := range list {
		t.add(human(f.Bytes), fmt.Sprint(f.Chunks), f.Path)
	}
	t.write(w)
}

// difference is what bundle diff prints.
type difference struct {
	Old       digest.Digest   `json:"old"`
	New       digest.Digest   `json:"new"`
	Changes   []bundle.Change `json:"changes"`
	Unchanged int             `json:"unchanged"`     // files
	Fresh     int64           `json:"fresh_bytes"`   // in chunks that only the new bundle has
	Archive   int64           `json:"archive_bytes"` // of the new archive
	// Patch is the size of the patch between the two archives; absent when it was not made.
	Patch *int64 `json:"patch_bytes,omitempty"`
}

func bundleDiffCommand(sh *shell) *cobra.Command {
	var exclude []string
	var noPatch bool
	cmd := verb("diff OLD NEW", "Tell what changed between two bundles",
		`Both folders are read as publish reads them. FRESH is how many bytes of a file are in chunks that no file of the
old bundle has: what publish has to send before compression. The patch is what a device with the old bundle
downloads; making it takes memory of a few times the size of the bundles.`,
		`
  brink bundle diff ./www-1.0 ./www-1.1
  brink bundle diff ./device/bundles/3f9c… ./www --no-patch
  brink bundle diff ./www-1.0 ./www-1.1 --json | jq .patch_bytes`,
		func(cmd *cobra.Command, args []string) error {
			d, err := sh.diffFolders(cmd.Context(), args[0], args[1], exclude, !noPatch)
			if err != nil {
				return err
			}
			return sh.show(d, d.text)
		})
	cmd.Args = args("OLD", "NEW")
	excludeFlag(cmd, &exclude)
	cmd.Flags().BoolVar(&noPatch, "no-patch", false, "do not make the patch, which takes the most time")
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) diffFolders(
	ctx context.Context, oldDir, newDir string, exclude []string, patch bool,
) (*difference, error) {
	old, err := sh.indexFolder(ctx, oldDir, exclude)
	if err != nil {
		return nil, err
	}
	next, err := sh.indexFolder(ctx, newDir, exclude)
	if err != nil {
		return nil, err
	}
	d := &difference{
		Old: old.Bundle(), New: next.Bundle(), Changes: bundle.Diff(old, next), Archive: next.Archive.Size,
	}
	d.Unchanged = len(next.Files)
	for _, c := range d.Changes {
		if c.Kind != "removed" {
			d.Unchanged--
		}
	}
	had := make(map[bundle.Chunk]struct{})
	for c := range old.Chunks() {
		had[c] = struct{}{}
	}
	for c := range next.Chunks() {
		if _, known := had[c]; !known {
			d.Fresh += c.Size
		}
	}
	if !patch || max(old.Archive.Size, next.Archive.Size) > bundle.MaxPatch {
		return d, nil
	}
	oldArchive, err := folderArchive(ctx, oldDir, exclude)
	if err != nil {
		return nil, err
	}
	newArchive, err := folderArchive(ctx, newDir, exclude)
	if err != nil {
		return nil, err
	}
	body, err := bundle.EncodePatch(oldArchive, newArchive, old.Archive.SHA256)
	if errors.Is(err, bundle.ErrNoPatch) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	length := int64(len(body))
	d.Patch = &length
	return d, nil
}

func (d *difference) text(w io.Writer) {
	if d.Old == d.New {
		fmt.Fprintf(w, "no difference: both are bundle %s\n", d.New)
		return
	}
	fmt.Fprintf(w, "from bundle %s\n", d.Old)
	fmt.Fprintf(w, "  to bundle %s\n\n", d.New)
	t := newTable("lrrrl", "CHANGE", "OLD", "NEW", "FRESH", "PATH")
	sum := map[string]int{}
	for _, c := range d.Changes {
		sum[c.Kind]++
		before, after, fresh := human(c.Old), human(c.New), human(c.Fresh)
		switch c.Kind {
		case "added":
			before = "–"
		case "removed":
			after, fresh = "–", "–"
		}
		t.add(c.Kind, before, after, fresh, c.Path)
	}
	t.write(w)
	patch := "not made"
	if d.Patch != nil {
		patch = human(*d.Patch)
	}
	fmt.Fprintln(w)
	facts(w,
		"files", fmt.Sprintf("%d changed, %d added, %d removed, %d unchanged",
			sum["changed"], sum["added"], sum["removed"], d.Unchanged),
		"archive", human(d.Archive),
		"fresh chunks", human(d.Fresh),
		"patch", patch,
	)
}

func excludeFlag(cmd *cobra.Command, exclude *[]string) {
	cmd.Flags().StringArrayVar(exclude, "exclude", nil,
		"leave out files whose path or base name matches `PATTERN` (repeatable)")
}

// indexFolder returns the index of the bundle that the files in dir make, and shows how far it is.
func (sh *shell) indexFolder(ctx context.Context, dir string, exclude []string) (*bundle.Index, error) {
	meter := sh.meter()
	defer meter.done()
	var done int64
	return readIndex(ctx, dir, bundle.Folder{Exclude: exclude, Progress: func(_ string, n int64) {
		done += n
		meter.show("reading "+dir, done, -1)
	}})
}

// indexOf is indexFolder without a sign of progress.
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

// folderArchive returns the archive that the files in dir make.
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
