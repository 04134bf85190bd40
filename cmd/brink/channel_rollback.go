package main

import (
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelRollbackCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var version string
	cmd := verb("rollback", "Make a channel serve an earlier release again",
		`Devices that run a later release go back too: a rollback is a new signed manifest, which they can distinguish from
a replayed old one. Without --version the channel goes back to the release before the current one.`,
		`
  brink channel rollback --channel production --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel rollback --channel production --version 1.0.0 --dry-run …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &c.signFlags)
			if err != nil {
				return err
			}
			defer p.close()
			result, err := p.RollBack(cmd.Context(), c.app, c.channel, version, c.dryRun)
			if err != nil {
				return withHistoryHint(err)
			}
			return sh.show(result, func(w io.Writer) { publishedText(w, "rolled back to", result) })
		})
	c.add(cmd)
	cmd.Flags().StringVar(&version, "version", "", "`VERSION` to go back to")
	sh.printsJSON(cmd)
	return cmd
}

// withHistoryHint adds a hint on where to find the versions that a channel can go back to.
func withHistoryHint(err error) error {
	if channel.CodeOf(err) == channel.CodeNotInHistory {
		return withHint(err, "brink channel history lists the releases that a channel can go back to")
	}
	return err
}
