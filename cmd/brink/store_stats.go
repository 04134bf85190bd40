package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/store"
)

func storeStatsCommand(sh *shell) *cobra.Command {
	var s storeFlags
	cmd := verb("stats", "Show what a store contains",
		"Stored data counts against the quota. The folder may be larger for a while, until disk space is freed.",
		"  brink store stats --data /var/lib/brink",
		func(*cobra.Command, []string) error {
			return s.withStore(func(opened *store.Store) error {
				stats, err := opened.Stats()
				if err != nil {
					return err
				}
				return sh.show(stats, func(w io.Writer) { statsText(w, s.data, stats) })
			})
		})
	s.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func statsText(w io.Writer, data string, stats store.Stats) {
	fmt.Fprintf(w, "store in %s\n", data)
	pairs := []string{
		"bundles", fmt.Sprint(stats.Bundles),
		"representations", fmt.Sprint(stats.Derived),
		"stored", fmt.Sprintf("%s in %s, of a quota of %s",
			human(stats.Stored), count(stats.Blobs, "blob"), human(stats.Quota)),
		"on disk", fmt.Sprintf("%s, and %s free", human(stats.Disk), human(int64(stats.Free))),
	}
	if stats.ReadOnly != "" {
		pairs = append(pairs, "read-only", stats.ReadOnly)
	}
	if len(stats.Quarantine) > 0 {
		pairs = append(pairs, "quarantine", fmt.Sprintf("damaged: %s", count(len(stats.Quarantine), "blob")))
	}
	if stats.BadRecords > 0 {
		pairs = append(pairs, "bad records", fmt.Sprint(stats.BadRecords))
	}
	facts(w, pairs...)
}
