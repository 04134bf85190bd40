package main

import (
	"io"

	"github.com/spf13/cobra"

	"brink/publish"
)

func channelPromoteCommand(sh *shell) *cobra.Command {
	var sign signFlags
	var r rolloutFlags
	var app, from, to string
	cmd := verb("promote", "Make a channel serve the release of another channel",
		`The release that --from serves becomes the release of --to. No bundle is uploaded: the node has it already. The
keys must be allowed to publish to --to. With --percent, --starts or --ends this starts a rollout; continue it with
brink channel rollout.`,
		`
  brink channel promote --from beta --to production --app com.acme.shop \
      --node http://127.0.0.1:8080 --key ci.key
  brink channel promote --from beta --to production --percent 5 …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &sign)
			if err != nil {
				return err
			}
			defer p.close()
			var result publish.Result
			if r.given(cmd) {
				result, err = p.RollOut(cmd.Context(), app, from, to, r.apply(cmd, nil), sign.dryRun)
			} else {
				result, err = p.Promote(cmd.Context(), app, from, to, sign.dryRun)
			}
			if err != nil {
				return err
			}
			return sh.show(result, func(w io.Writer) { publishedText(w, "promoted", result) })
		})
	sign.add(cmd)
	cmd.Flags().StringVar(&app, "app", "", "`NAME` of the app")
	cmd.Flags().StringVar(&from, "from", "", "`NAME` of the channel that has the release")
	cmd.Flags().StringVar(&to, "to", "", "`NAME` of the channel that gets it")
	r.add(cmd)
	required(cmd, "app", "from", "to")
	sh.printsJSON(cmd)
	return cmd
}
