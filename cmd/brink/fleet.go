package main

import (
	"github.com/spf13/cobra"
)

func fleetCommand(sh *shell) *cobra.Command {
	return group("fleet", "Look after nodes that belong together",
		`Nodes of a fleet tell each other what was published, and get from each other what they lack. They share a name and
a key; see serve --fleet. The verbs ask one of the nodes at its private address (serve --admin).`,
		fleetStatusCommand(sh), fleetDrainCommand(sh), fleetKeyCommand(sh))
}

// adminFlag gives cmd the flag --node for a node's private address.
func adminFlag(cmd *cobra.Command, node *string) {
	cmd.Flags().StringVar(node, "node", "", "private `URL` of any node of the fleet, as serve has it with --admin")
	required(cmd, "node")
}

// maxFleetStatus bounds what a node says about a fleet, in bytes.
const maxFleetStatus = 16 << 20
