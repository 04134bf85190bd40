package main

import (
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelPushCommand(sh *shell) *cobra.Command {
	var sign signFlags
	cmd := verb("push FILE", "Apply a channel manifest that several keys have signed",
		`FILE was written by a verb with --half-signed, and brink sign has added the missing signatures. It is refused if
the channel has changed since FILE was made. No key is needed.`,
		`
  brink channel promote … --key a.key --half-signed promotion.json
  brink sign promotion.json --key b.key                  on another machine
  brink channel push promotion.json --node http://127.0.0.1:8080 --trust acme.trust.json`,
		func(cmd *cobra.Command, args []string) error {
			raw, err := readFile(args[0], channel.MaxManifest)
			if err != nil {
				return err
			}
			p, err := sh.signer(cmd, &sign)
			if err != nil {
				return err
			}
			defer p.close()
			result, err := p.Push(cmd.Context(), raw, sign.dryRun)
			p.meter.done()
			if err != nil {
				return err
			}
			return sh.show(result, func(w io.Writer) { publishedText(w, "moved to", result) })
		})
	cmd.Args = args("FILE")
	sign.addTarget(cmd)
	sh.printsJSON(cmd)
	return cmd
}
