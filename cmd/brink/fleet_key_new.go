package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"brink/gossip"
)

func fleetKeyNewCommand(sh *shell) *cobra.Command {
	cmd := verb("new FILE", "Make the key of a new fleet",
		`FILE is readable only by you. Copy it to all nodes over a secure channel. An existing file is never overwritten.`,
		"  brink fleet key new fleet.key",
		func(_ *cobra.Command, args []string) error {
			file, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return withHint(err, "use brink fleet key rotate to replace the key of a running fleet")
			}
			_, err = io.WriteString(file, gossip.NewKey()+"\n")
			if closing := file.Close(); err == nil {
				err = closing
			}
			if err != nil {
				return err
			}
			return sh.show(map[string]string{"file": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "fleet key in %s (keep it secret)\n", args[0])
			})
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}
