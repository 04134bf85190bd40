package main

import (
	"github.com/spf13/cobra"
)

func fleetKeyCommand(sh *shell) *cobra.Command {
	return group("key", "Make and replace the key of a fleet",
		`All nodes of a fleet have the same key, in the file that serve has as --fleet-key. It encrypts what they tell each
other and lets them know each other's requests. It gives nobody the right to publish.`,
		fleetKeyNewCommand(sh), fleetKeyRotateCommand(sh))
}
