package main

import (
	"strings"

	"github.com/spf13/cobra"

	"brink/protocol"
	"brink/publish"
)

// replicaFlags say on how many nodes of a fleet a release has to be durable before the verb returns.
type replicaFlags struct{ nodes, regions int }

func (f *replicaFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.nodes, "replicas", 1,
		"`NUMBER` of nodes on which the release must be durable, including the one that answers")
	cmd.Flags().IntVar(&f.regions, "regions", 1, "`NUMBER` of regions in which these nodes must be")
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
