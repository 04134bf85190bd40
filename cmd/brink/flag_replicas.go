package main

import (
	"strings"

	"github.com/spf13/cobra"

	"brink/protocol"
	"brink/publish"
)

// replicaFlags say how many nodes of a fleet are to hold what is published before the verb ends.
type replicaFlags struct{ nodes, regions int }

func (f *replicaFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.nodes, "replicas", 1,
		"`NUMBER` of nodes that must hold the release durably, the one that answers included")
	cmd.Flags().IntVar(&f.regions, "regions", 1, "`NUMBER` of regions that these must be in")
}

func (f *replicaFlags) apply(c *publish.Config) { c.Replicas, c.Regions = f.nodes, f.regions }

func replicasText(list []protocol.Replica) string {
	names := make([]string, len(list))
	for i, one := range list {
		names[i] = one.Node
		if one.Region != "" {
			names[i] += " (" + one.Region + ")"
		}
	}
	return strings.Join(names, ", ")
}
