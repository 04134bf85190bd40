package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/store"
)

// verification is what store verify prints.
type verification struct {
	OK bool `json:"ok"`
	*store.Report
}

func storeVerifyCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("verify", "Read everything in a store and check it",
		`Every blob, every bundle and every signed record is read once. Damaged blobs are set aside, so that they are never
served: a node fetches them again, and publishing a bundle again heals it too. The exit code is 7 when something is
damaged.`,
		"  brink store verify --data /var/lib/brink",
		func(cmd *cobra.Command, _ []string) error {
			return s.withStore(func(opened *store.Store) error {
				meter := sh.meter()
				meter.items = true
				report, err := opened.Verify(cmd.Context(), func(done, total int64) { meter.show("verifying", done, total) })
				meter.done()
				if err != nil {
					return err
				}
				v := verification{OK: report.OK(), Report: report}
				if err := sh.show(v, v.text); err != nil || v.OK {
					return err
				}
				return withHint(fmt.Errorf("%s: %w", s.data, store.ErrDamaged),
					"start the node: it fills what it can reach; publish again what stays incomplete")
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (v verification) text(w io.Writer) {
	fmt.Fprintf(w, "read %s, %s\n", count(v.Blobs, "blob"), human(v.Bytes))
	for _, d := range v.Damaged {
		fmt.Fprintf(w, "  damaged blob, set aside: %s\n", d)
	}
	for _, b := range v.Incomplete {
		if b.NoIndex {
			fmt.Fprintf(w, "  bundle %s has lost its index\n", b.ID)
			continue
		}
		fmt.Fprintf(w, "  bundle %s has lost %s\n", b.ID, count(b.Lost, "chunk"))
	}
	for _, name := range v.Records {
		fmt.Fprintf(w, "  signed record that cannot be read: %s\n", name)
	}
	for _, table := range v.Tables {
		fmt.Fprintf(w, "  database with a table that is damaged: %s\n", table)
	}
	if v.OK {
		fmt.Fprintln(w, "all is as it was written")
	}
}
