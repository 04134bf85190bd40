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
	cmd := verb("rotate", "Give a fleet a new key while it runs",
		`The node that is asked makes a key and brings it to all others, sealed under the present one, in three steps: all
know it, all use it, all forget the former one. Each node writes its key file. It stops at the first node that does
not answer, and nothing is lost by that: all nodes still know a key that they share; rotate again when it is back. A
node that was down meanwhile needs the new key file before it starts.`,
		"  brink fleet key rotate --node http://127.0.0.1:9090",
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			var done []protocol.Replica
			if err := exchange(cmd.Context(), http.MethodPost, node, "/fleet/rotate", nil, maxFleetStatus, &done); err != nil {
				return withHint(err, "see brink fleet status; then rotate again")
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
