package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/store"
)

func storeGCCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("gc", "Remove what nothing refers to, and give disk space back",
		"A running node does this by itself. Bundles are not evicted: that happens only when room is wanted.",
		"  brink store gc --data /var/lib/brink",
		func(cmd *cobra.Command, _ []string) error {
			return s.withStore(func(opened *store.Store) error {
				report, err := opened.GC(cmd.Context())
				if err != nil {
					return err
				}
				return sh.show(report, func(w io.Writer) {
					fmt.Fprintln(w, "garbage collected")
					facts(w, "removed", human(report.Evicted), "given back", human(max(0, report.Disk))+" of the disk")
				})
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}
