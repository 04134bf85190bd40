package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/protocol"
)

func channelShowCommand(sh *shell) *cobra.Command {
	var c channelFlags
	cmd := verb("show", "Show what a channel serves",
		"Without --channel it lists the channels of the app.",
		`
  brink channel show --node http://127.0.0.1:8080 --app com.acme.shop
  brink channel show --node http://127.0.0.1:8080 --app com.acme.shop --channel production --trust acme.trust.json`,
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, c.node); err != nil {
				return err
			}
			if c.channel == "" {
				return sh.listChannels(cmd.Context(), c)
			}
			m, err := sh.manifest(cmd.Context(), c)
			if err != nil {
				return err
			}
			return sh.show(m, func(w io.Writer) { manifestText(w, m, c.trust) })
		})
	c.add(cmd)
	c.addTrust(cmd)
	sh.printsJSON(cmd)
	return cmd
}

// maxChannels limits the list of an app's channels, in bytes.
const maxChannels = 8 << 20

func (sh *shell) listChannels(ctx context.Context, c channelFlags) error {
	var app protocol.App
	if err := askJSON(ctx, c.node, protocol.AppPath(c.app), maxChannels, &app); err != nil {
		return err
	}
	return sh.show(app, func(w io.Writer) {
		fmt.Fprintf(w, "app %s of org %s\n", app.App, app.Org)
		if len(app.Channels) == 0 {
			fmt.Fprintln(w, "  no channels yet: brink publish creates one")
			return
		}
		t := newTable("llr", "CHANNEL", "VERSION", "SEQUENCE")
		for _, one := range app.Channels {
			serves := one.Version
			if one.Reverted {
				serves = "built-in"
			}
			t.add(one.Channel, serves, fmt.Sprint(one.Sequence))
		}
		t.write(w)
	})
}

func manifestText(w io.Writer, m *channel.Manifest, trust string) {
	r := &m.Release
	if m.Reverted() {
		fmt.Fprintf(w, "%s serves %s the built-in bundle of the native app; before, it served %s\n",
			m.Channel, m.App, r.Version)
	} else {
		fmt.Fprintf(w, "%s serves %s %s\n", m.Channel, m.App, r.Version)
	}
	checked := "no: pass the org's trust document with --trust"
	if trust != "" {
		checked = "by " + trustName(trust)
	}
	pairs := []string{
		"bundle", r.Bundle.String(),
		"files", fmt.Sprintf("%s, an archive of %s", count(r.Files, "file"), human(r.Size)),
		"created", moment(r.Created),
		"sequence", fmt.Sprintf("%d%s, signed %s", m.Sequence, renewedTimes(m), moment(m.Issued)),
		"checked", checked,
	}
	if !m.Expires.IsZero() {
		pairs = append(pairs, "expires", moment(m.Expires))
	}
	if m.Withdrawn != "" {
		pairs = append(pairs, "withdrawn", "later versions up to "+m.Withdrawn+": devices that run them go back")
	}
	if r.Mandatory {
		pairs = append(pairs, "mandatory", "yes")
	}
	for _, a := range r.Attachments {
		pairs = append(pairs, "attachment", fmt.Sprintf("%s, %s", a.Kind, human(a.Size)))
	}
	if r.Link != "" {
		pairs = append(pairs, "link", fmt.Sprintf("%q", r.Link))
	}
	if r.Comment != "" {
		pairs = append(pairs, "comment", fmt.Sprintf("%q", r.Comment))
	}
	facts(w, append(pairs, rulePairs(m.Rules, m.Rollout, m.BuiltIn, m.Overrides)...)...)
}

// renewedTimes describes how often a manifest was renewed, if it was.
func renewedTimes(m *channel.Manifest) string {
	if m.Renewal() == 0 {
		return ""
	}
	return ", renewed " + count(m.Renewal(), "time")
}
