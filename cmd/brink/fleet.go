package main

import (
	"github.com/spf13/cobra"
)

func fleetCommand(sh *shell) *cobra.Command {
	return group("fleet", "Operate a fleet of nodes",
		`The nodes of a fleet notify each other of changes and fetch missing data from each other. They share a name and a
key; see serve --fleet. These verbs connect to the private address of one of the nodes (serve --admin).`,
		fleetStatusCommand(sh), fleetDrainCommand(sh), fleetKeyCommand(sh))
}

// adminFlag adds the flag --node for a node's private address to cmd.
func adminFlag(cmd *cobra.Command, node *string) {
	cmd.Flags().StringVar(node, "node", "", "private `URL` of any node of the fleet (serve --admin)")
	required(cmd, "node")
}

// maxFleetStatus limits a node's answer about its fleet, in bytes.
const maxFleetStatus = 16 << 20
