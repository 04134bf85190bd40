package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"brink/bundle"
	"brink/digest"
)

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
	cmd := verb("inspect [DIR]", "Show what a bundle contains",
		`The folder is read as publish reads it: the output shows what would be published, and a file name that cannot be
published is an error here too. The ID of the bundle depends only on the files, not on the machine or the time.

With --node, --app and --channel instead of DIR it shows the release that the channel serves, or the one with
--version from its history. The index from the node is verified against the channel manifest.`,
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
	flags.StringVar(&c.node, "node", "", "`URL` of a node to fetch from instead of reading DIR")
	flags.StringVar(&c.app, "app", "", "`NAME` of the app on the node")
	flags.StringVar(&c.channel, "channel", "", "`NAME` of the channel on the node")
	flags.StringVar(&version, "version", "", "`VERSION` in the channel's history (default: the one that it serves)")
	c.addTrust(cmd)
	sh.printsJSON(cmd)
	return cmd
}

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
