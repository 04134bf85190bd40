package main

import (
	"context"

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
		channelSetCommand(sh), channelRenewCommand(sh), channelPushCommand(sh))
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
