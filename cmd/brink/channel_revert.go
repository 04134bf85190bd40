package main

import (
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelRevertCommand(sh *shell) *cobra.Command {
	var c changeFlags
	cmd := verb("revert", "Take all devices back to what their native app came with",
		`It is for the day when no release is good. Devices that an override gives a release keep it, and a rollout ends. The
next publish, promotion or rollback ends it: brink channel rollback --version of the release that was served serves
that again. With --percent, a publish gives a new release to some devices, and the others stay on the built-in.`,
		`
  brink channel revert --channel production --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel revert --channel production --dry-run …`,
		func(cmd *cobra.Command, _ []string) error {
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) { return m.Revert(time.Now()) })
		})
	c.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}
