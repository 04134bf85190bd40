package main

import (
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelRevertCommand(sh *shell) *cobra.Command {
	var c changeFlags
	cmd := verb("revert", "Return all devices to the bundle built into their native app",
		`Use it when no release is good. Overrides still apply, and a rollout is cancelled. The next publish, promotion or
rollback ends it; to serve the same release again, use brink channel rollback with its --version. After a publish with
--percent some devices get the new release, and the others stay on their built-in bundle.`,
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
