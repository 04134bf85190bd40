package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"brink/protocol"
)

func fleetDrainCommand(sh *shell) *cobra.Command {
	var node string
	var undo bool
	cmd := verb("drain NAME", "Take a node out of service, but leave it running",
		`The node reports that it is not ready, so that load balancers send devices elsewhere, and other nodes use it last. It
still answers requests and remains a member of the fleet. It is ready again after --undo or a restart. To stop a node,
send SIGTERM: it drains first.`,
		`
  brink fleet drain edge-2 --node http://127.0.0.1:9090
  brink fleet drain edge-2 --node http://127.0.0.1:9090 --undo`,
		func(cmd *cobra.Command, args []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			query := url.Values{"node": {args[0]}}
			if undo {
				query.Set("undo", "1")
			}
			var status protocol.NodeStatus
			path := "/fleet/drain?" + query.Encode()
			err := exchange(cmd.Context(), http.MethodPost, node, path, nil, maxFleetStatus, &status)
			if err != nil {
				return err
			}
			status.Channels = nil
			return sh.show(status, func(w io.Writer) { fmt.Fprintf(w, "node %s is %s\n", args[0], status.State) })
		})
	cmd.Args = args("NAME")
	adminFlag(cmd, &node)
	cmd.Flags().BoolVar(&undo, "undo", false, "return the node to service")
	sh.printsJSON(cmd)
	return cmd
}
