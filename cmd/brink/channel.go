package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/protocol"
	"brink/publish"
)

func channelCommand(sh *shell) *cobra.Command {
	return group("channel", "Look at channels and move them",
		"A channel is a named stream of an app's releases. A move is a signed statement; devices follow it.",
		channelShowCommand(sh), channelHistoryCommand(sh), channelExplainCommand(sh), channelPromoteCommand(sh),
		channelRollbackCommand(sh), channelRevertCommand(sh), channelRolloutCommand(sh), channelOverrideCommand(sh),
		channelSetCommand(sh), channelRenewCommand(sh))
}

// channelFlags say which channel of which app on which node.
type channelFlags struct {
	node, app, channel string
	trust              string
}

func (c *channelFlags) add(cmd *cobra.Command) {
	nodeFlag(cmd, &c.node)
	cmd.Flags().StringVar(&c.app, "app", "", "`NAME` of the app")
	cmd.Flags().StringVar(&c.channel, "channel", "", "`NAME` of the channel")
	required(cmd, "app")
}

func (c *channelFlags) addTrust(cmd *cobra.Command) {
	trustFlag(cmd, &c.trust, "the org's trust document, a `FILE` or the document itself; without it nothing is checked")
}

// manifest fetches the channel manifest, and checks who signed it if a trust document was given.
func (sh *shell) manifest(ctx context.Context, c channelFlags) (*channel.Manifest, error) {
	if c.trust == "" {
		raw, err := ask(ctx, c.node, protocol.ChannelPath(c.app, c.channel), channel.MaxManifest)
		if err != nil {
			return nil, err
		}
		m, err := channel.ParseManifest(raw)
		if err != nil {
			return nil, err
		}
		return m, m.CheckFor(c.app, c.channel)
	}
	trust, err := readTrust(c.trust)
	if err != nil {
		return nil, err
	}
	p, err := publish.New(publish.Config{Node: c.node, Trust: trust})
	if err != nil {
		return nil, err
	}
	return p.Channel(ctx, c.app, c.channel)
}

func channelShowCommand(sh *shell) *cobra.Command {
	var c channelFlags
	cmd := verb("show", "Print what a channel serves",
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

// maxChannels bounds, in bytes, the list of an app's channels.
const maxChannels = 8 << 20

func (sh *shell) listChannels(ctx context.Context, c channelFlags) error {
	var app protocol.App
	if err := askJSON(ctx, c.node, protocol.AppPath(c.app), maxChannels, &app); err != nil {
		return err
	}
	return sh.show(app, func(w io.Writer) {
		fmt.Fprintf(w, "app %s of org %s\n", app.App, app.Org)
		if len(app.Channels) == 0 {
			fmt.Fprintln(w, "  no channels yet: brink publish makes one")
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
		fmt.Fprintf(w, "%s takes devices back to what their native app of %s came with; before, it served %s\n",
			m.Channel, m.App, r.Version)
	} else {
		fmt.Fprintf(w, "%s serves %s %s\n", m.Channel, m.App, r.Version)
	}
	checked := "no: give the org's trust document with --trust"
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
		pairs = append(pairs, "withdrawn", "everything above, up to "+m.Withdrawn+": devices that run it go back")
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

// renewedTimes tells how often a manifest was renewed, if it was.
func renewedTimes(m *channel.Manifest) string {
	if m.Renewal() == 0 {
		return ""
	}
	return ", renewed " + count(m.Renewal(), "time")
}

// history is what channel history prints.
type history struct {
	App      string            `json:"app"`
	Channel  string            `json:"channel"`
	Sequence uint64            `json:"sequence"`
	Releases []channel.Release `json:"releases"` // what is served now, then what was served before, newest first
}

func channelHistoryCommand(sh *shell) *cobra.Command {
	var c channelFlags
	cmd := verb("history", "List what a channel served before",
		fmt.Sprintf("These are the releases that a rollback can go to. A channel remembers the last %d.", channel.MaxHistory),
		"  brink channel history --node http://127.0.0.1:8080 --app com.acme.shop --channel production",
		func(cmd *cobra.Command, _ []string) error {
			if err := checkNodes(cmd, c.node); err != nil {
				return err
			}
			m, err := sh.manifest(cmd.Context(), c)
			if err != nil {
				return err
			}
			h := history{App: m.App, Channel: m.Channel, Sequence: m.Sequence}
			for r := range m.Releases() {
				h.Releases = append(h.Releases, *r)
			}
			return sh.show(h, h.text)
		})
	c.add(cmd)
	c.addTrust(cmd)
	required(cmd, "channel")
	sh.printsJSON(cmd)
	return cmd
}

func (h history) text(w io.Writer) {
	fmt.Fprintf(w, "%s of %s, newest first\n", h.Channel, h.App)
	t := newTable("lllr", "", "VERSION", "CREATED", "ARCHIVE")
	for i, r := range h.Releases {
		now := ""
		if i == 0 {
			now = "now"
		}
		t.add(now, r.Version, moment(r.Created), human(r.Size))
	}
	t.write(w)
}

func channelPromoteCommand(sh *shell) *cobra.Command {
	var sign signFlags
	var r rolloutFlags
	var app, from, to string
	cmd := verb("promote", "Let one channel serve what another serves",
		`The release that --from serves becomes the release of --to. No bytes of the bundle are sent: the node has them.
The keys must be allowed to publish to --to. With --percent, --starts or --ends it goes to some devices first; brink
channel rollout goes on from there.`,
		`
  brink channel promote --from beta --to production --app com.acme.shop \
      --node http://127.0.0.1:8080 --key ci.key
  brink channel promote --from beta --to production --percent 5 …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &sign)
			if err != nil {
				return err
			}
			defer p.end()
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

func channelRollbackCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var version string
	cmd := verb("rollback", "Let a channel serve an earlier release again",
		`Devices that run a release above it go back too: a rollback is a signed statement of its own, which they tell
from a replayed old one. Without --version it goes to the release before the one that is served.`,
		`
  brink channel rollback --channel production --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel rollback --channel production --version 1.0.0 --dry-run …`,
		func(cmd *cobra.Command, _ []string) error {
			p, err := sh.signer(cmd, &c.signFlags)
			if err != nil {
				return err
			}
			defer p.end()
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

// withHistoryHint says where to look for versions that a channel can go back to.
func withHistoryHint(err error) error {
	if channel.CodeOf(err) == channel.CodeNotInHistory {
		return withHint(err, "brink channel history lists the releases that a channel can go back to")
	}
	return err
}
