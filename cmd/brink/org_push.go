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
	cmd := verb("push FILE", "Bring the next version of a trust document to a running node",
		`The node takes it when the root keys that it knows have signed it, and its fleet gets it from there. A channel that
was signed by a key which the document takes away is out of service at once.`,
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
			var taken protocol.TrustTaken
			path := protocol.TrustPath(trust.Org())
			err = exchange(cmd.Context(), http.MethodPut, node, path, raw, protocol.MaxProblem, &taken)
			if err != nil {
				return err
			}
			return sh.show(taken, func(w io.Writer) {
				fmt.Fprintf(w, "org %s is at version %d of its trust document\n", taken.Org, taken.Version)
			})
		})
	cmd.Args = args("FILE")
	nodeFlag(cmd, &node)
	sh.printsJSON(cmd)
	return cmd
}
