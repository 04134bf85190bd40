package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"brink/protocol"
)

func fleetKeyRotateCommand(sh *shell) *cobra.Command {
	var node string
	cmd := verb("rotate", "Replace the key of a running fleet",
		`The node makes a new key and sends it to all others, encrypted with the current one, in three steps: all nodes accept
the new key, all use it, all remove the old one. Each node writes its key file. The rotation stops at the first node
that does not answer; all nodes still share a key then: rotate again when that node is back. A node that was down
during the rotation needs the new key file before it starts.`,
		"  brink fleet key rotate --node http://127.0.0.1:9090",
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			var done []protocol.Replica
			if err := exchange(cmd.Context(), http.MethodPost, node, "/fleet/rotate", nil, maxFleetStatus, &done); err != nil {
				return withHint(err, "check the nodes with brink fleet status, then rotate again")
			}
			return sh.show(done, func(w io.Writer) {
				names := make([]string, len(done))
				for i, one := range done {
					names[i] = one.Node
				}
				fmt.Fprintf(w, "new key on %s: %s\n", count(len(done), "node"), strings.Join(names, ", "))
			})
		})
	adminFlag(cmd, &node)
	sh.printsJSON(cmd)
	return cmd
}
