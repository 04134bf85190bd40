package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/store"
)

func storeGCCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("gc", "Remove unreferenced data and free disk space",
		"A running node does this by itself. Bundles are not evicted: that happens only when space is needed.",
		"  brink store gc --data /var/lib/brink",
		func(cmd *cobra.Command, _ []string) error {
			return s.withStore(func(opened *store.Store) error {
				report, err := opened.GC(cmd.Context())
				if err != nil {
					return err
				}
				return sh.show(report, func(w io.Writer) {
					fmt.Fprintln(w, "garbage collected")
					facts(w, "removed", human(report.Evicted), "freed", human(max(0, report.Disk))+" on disk")
				})
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}
