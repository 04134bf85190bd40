package main

import (
	"github.com/spf13/cobra"

	"brink/channel"
)

// rootFlags are the flags of org update for an org's root keys.
type rootFlags struct {
	added, removed []string
	threshold      int
}

func (r *rootFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&r.added, "add-root", nil, "`FILE` of a root key to add, public (repeatable)")
	flags.StringArrayVar(&r.removed, "remove-root", nil, "`FILE` of a root key to remove, public (repeatable)")
	flags.IntVar(&r.threshold, "root-threshold", 1, "`NUMBER` of root keys that must sign from now on")
}

// apply changes the roots of next.
func (r *rootFlags) apply(cmd *cobra.Command, next *channel.TrustConfig) error {
	added, err := readPublicKeys(r.added)
	if err != nil {
		return err
	}
	removed, err := readPublicKeys(r.removed)
	if err != nil {
		return err
	}
	next.AddRoots(added...)
	if err := next.RemoveRoots(removed...); err != nil {
		return asUsageOf(cmd, err)
	}
	if cmd.Flags().Changed("root-threshold") {
		next.Threshold = r.threshold
	}
	return nil
}
