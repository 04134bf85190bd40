package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/store"
)

// verification is the output of store verify.
type verification struct {
	OK bool `json:"ok"`
	*store.Report
}

func storeVerifyCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("verify", "Verify everything in a store",
		`Every blob, bundle and signed record is read once. Damaged blobs are quarantined, so that they are never served: a
node fetches them again, and publishing a bundle again repairs it too. The exit code is 7 if anything is damaged.`,
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
					"start the node, which fetches missing data again; then publish the bundles that are still incomplete")
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (v verification) text(w io.Writer) {
	fmt.Fprintf(w, "read %s, %s\n", count(v.Blobs, "blob"), human(v.Bytes))
	for _, d := range v.Damaged {
		fmt.Fprintf(w, "  damaged blob, quarantined: %s\n", d)
	}
	for _, b := range v.Incomplete {
		if b.NoIndex {
			fmt.Fprintf(w, "  bundle %s has lost its index\n", b.ID)
			continue
		}
		fmt.Fprintf(w, "  bundle %s has lost %s\n", b.ID, count(b.Lost, "chunk"))
	}
	for _, name := range v.Records {
		fmt.Fprintf(w, "  unreadable signed record: %s\n", name)
	}
	for _, table := range v.Tables {
		fmt.Fprintf(w, "  damaged database table: %s\n", table)
	}
	if v.OK {
		fmt.Fprintln(w, "no damage found")
	}
}
