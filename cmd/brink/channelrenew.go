package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"brink/publish"
)

func channelRenewCommand(sh *shell) *cobra.Command {
	var sign signFlags
	var apps, channels []string
	var within life
	cmd := verb("renew", "Let channel manifests be good for longer, and change nothing else",
		`A manifest expires so that nobody can go on handing out an old one. This verb is for cron: it renews the manifests
that end soon and leaves the others as they are. A key of a role that may do nothing else suffices (brink org new
--renewer); what it signs can not change what a channel serves, nor bring back what it served before. Without
--channel it renews all channels of the apps.`,
		`
  brink channel renew --app com.acme.shop --app com.acme.till \
      --node http://127.0.0.1:8080 --key cron.key --trust acme.trust.json
  brink channel renew --app com.acme.shop --channel production --within 30d --expires 90d …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &sign)
			if err != nil {
				return err
			}
			defer p.end()
			results := []publish.Renewed{}
			for _, app := range apps {
				names := channels
				if len(names) == 0 {
					if names, err = p.Channels(cmd.Context(), app); err != nil {
						return err
					}
				}
				for _, name := range names {
					r, err := p.Renew(cmd.Context(), app, name, dueWithin(within), sign.dryRun)
					if err != nil {
						return err
					}
					results = append(results, r)
				}
			}
			p.meter.done()
			return sh.show(results, func(w io.Writer) { renewedText(w, results) })
		})
	sign.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&apps, "app", nil, "`NAME` of an app (repeatable)")
	flags.StringArrayVar(&channels, "channel", nil, "`NAME` of a channel (repeatable; default: all of the app)")
	within = life(45 * 24 * time.Hour)
	flags.Var(&within, "within", "renew what ends within this time; never: whenever it ends")
	required(cmd, "app")
	sh.printsJSON(cmd)
	return cmd
}

// dueWithin returns how near its end a manifest has to be to be renewed.
func dueWithin(within life) time.Duration {
	if time.Duration(within) == publish.Forever {
		return math.MaxInt64
	}
	return time.Duration(within)
}

func renewedText(w io.Writer, results []publish.Renewed) {
	t := newTable("lllrl", "APP", "CHANNEL", "EXPIRES", "RENEWAL", "")
	for _, r := range results {
		expires, what := "never", "renewed"
		if !r.Expires.IsZero() {
			expires = moment(r.Expires)
		}
		switch {
		case r.Skipped:
			what = "not due"
		case r.DryRun:
			what = "would be renewed"
		}
		t.add(r.App, r.Channel, expires, fmt.Sprint(r.Renewal), what)
	}
	t.write(w)
}
