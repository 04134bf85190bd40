package main

import (
	"context"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/protocol"
	"brink/publish"
)

func channelCommand(sh *shell) *cobra.Command {
	return group("channel", "Show and change channels",
		"A channel is a named sequence of an app's releases, which devices follow. Every change of it is signed.",
		channelShowCommand(sh), channelHistoryCommand(sh), channelExplainCommand(sh), channelPromoteCommand(sh),
		channelRollbackCommand(sh), channelRevertCommand(sh), channelRolloutCommand(sh), channelOverrideCommand(sh),
		channelSetCommand(sh), channelRenewCommand(sh), channelPushCommand(sh))
}

// channelFlags name a channel of an app on a node.
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
	trustFlag(cmd, &c.trust, "the org's trust document, a `FILE` or its content; without it signatures are not verified")
}

// manifest fetches the channel manifest, and verifies its signatures if there is a trust document.
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
