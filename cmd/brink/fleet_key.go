package main

import (
	"github.com/spf13/cobra"
)

func fleetKeyCommand(sh *shell) *cobra.Command {
	return group("key", "Make and replace the key of a fleet",
		`All nodes of a fleet have the same key (serve --fleet-key). It encrypts gossip and authenticates requests between
nodes. It does not permit publishing.`,
		fleetKeyNewCommand(sh), fleetKeyRotateCommand(sh))
}
