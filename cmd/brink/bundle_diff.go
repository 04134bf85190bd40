package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/digest"
)

// difference is what bundle diff prints.
type difference struct {
	Old       digest.Digest   `json:"old"`
	New       digest.Digest   `json:"new"`
	Changes   []bundle.Change `json:"changes"`
	Unchanged int             `json:"unchanged"`     // files
	Fresh     int64           `json:"fresh_bytes"`   // in chunks that only the new bundle has
	Archive   int64           `json:"archive_bytes"` // of the new archive
	// Patch is the size of the patch between the two archives; absent when none was made.
	Patch *int64 `json:"patch_bytes,omitempty"`
}

func bundleDiffCommand(sh *shell) *cobra.Command {
	var exclude []string
	var noPatch bool
	cmd := verb("diff OLD NEW", "Show what changed between two bundles",
		`Both folders are read as publish reads them. FRESH is the number of bytes of a file in chunks that are not in the
old bundle: publish has to send these, compressed. The patch is what a device with the old bundle downloads; making
it needs several times as much memory as the bundles are large.`,
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
	cmd.Flags().BoolVar(&noPatch, "no-patch", false, "do not make the patch, which is the slowest step")
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
