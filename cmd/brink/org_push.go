package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/protocol"
)

func orgPushCommand(sh *shell) *cobra.Command {
	var node string
	cmd := verb("push FILE", "Send the next version of a trust document to a running node",
		`The node accepts it if the root keys of its current version have signed it, and passes it on to its fleet. A channel
whose manifest was signed by a key that the document removes is no longer served.`,
		"  brink org push acme.trust.json --node http://127.0.0.1:8080",
		func(cmd *cobra.Command, args []string) error {
			if err := checkNodes(cmd, node); err != nil {
				return err
			}
			raw, err := readFile(args[0], channel.MaxTrust)
			if err != nil {
				return err
			}
			trust, err := channel.ParseTrust(raw, time.Now())
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			var accepted protocol.TrustAccepted
			path := protocol.TrustPath(trust.Org())
			err = exchange(cmd.Context(), http.MethodPut, node, path, raw, protocol.MaxProblem, &accepted)
			if err != nil {
				return err
			}
			return sh.show(accepted, func(w io.Writer) {
				fmt.Fprintf(w, "org %s is at version %d of its trust document\n", accepted.Org, accepted.Version)
			})
		})
	cmd.Args = args("FILE")
	nodeFlag(cmd, &node)
	sh.printsJSON(cmd)
	return cmd
}
