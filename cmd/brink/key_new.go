package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
)

func keyNewCommand(sh *shell) *cobra.Command {
	cmd := verb("new FILE", "Make a key pair",
		`The private key is written to FILE, readable only by you. The public key, which is not secret, is written to
FILE.pub. Both are PEM. Existing files are never overwritten.`,
		`
  brink key new root.key        signs the trust document: keep it offline
  brink key new ci.key          publishes`,
		func(_ *cobra.Command, args []string) error {
			key, err := channel.NewKey(nil)
			if err != nil {
				return err
			}
			if err := writeKey(args[0], key); err != nil {
				return err
			}
			info := keyInfo{File: args[0], Kind: privateKind, ID: key.Public().ID(), Public: publicFile(args[0])}
			return sh.show(info, func(w io.Writer) {
				fmt.Fprintf(w, "key %s\n", info.ID)
				facts(w, "private", info.File+" (keep it secret)", "public", info.Public)
			})
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}
