package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/gossip"
	"brink/node"
)

// fleetFlags are the settings of a node that belongs to a fleet, or has an origin behind it.
type fleetFlags struct {
	name, node, region, url string
	gossip, advertise, key  string
	join, allow             []string
	origin                  string
	originAck               bool
	originPoll              time.Duration
	fillRate                size
}

func (f *fleetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "fleet", "", "`NAME` of the fleet that the node belongs to, the same on all of its nodes")
	flags.StringVar(&f.key, "fleet-key", "", "`KEY` of the fleet, see brink fleet key new: "+secretSources)
	markSecret(cmd, "fleet-key")
	flags.StringVar(&f.node, "name", "", "`NAME` of this node, unique in the fleet (default: the host's)")
	flags.StringVar(&f.region, "region", "", "`NAME` of the region; nodes ask others of their region first")
	flags.StringVar(&f.gossip, "gossip", "", "`ADDRESS` to gossip on, TCP and UDP (default: port 7946 of all interfaces)")
	flags.StringVar(&f.advertise, "advertise", "", "`ADDRESS` at which the others reach --gossip, behind NAT")
	flags.StringVar(&f.url, "node-url", "", "`URL` at which the others reach --listen (default: made of both addresses)")
	flags.StringSliceVar(&f.join, "join", nil,
		"`HOST:PORT` of nodes of the fleet; names may have many addresses (repeatable, or commas)")
	flags.StringSliceVar(&f.allow, "fleet-allow", nil, "`CIDR` networks that nodes may come from (default: all)")
	flags.StringVar(&f.origin, "origin", "",
		"`URL` of a bucket behind the node: s3://BUCKET/PREFIX?endpoint=… or, to read only, https://HOST/PREFIX")
	flags.BoolVar(&f.originAck, "origin-ack", false, "acknowledge a release only when the origin has it too")
	flags.DurationVar(&f.originPoll, "origin-poll", node.DefaultOriginPoll, "how often the origin is looked at for news")
	flags.Var(&f.fillRate, "fill-rate",
		"how much per second is brought in before devices ask for it (0B: as much as goes)")
}

// apply brings the flags into the configuration of a node.
func (f *fleetFlags) apply(sh *shell, cmd *cobra.Command, c *node.Config) error {
	refuse := func(format string, args ...any) error {
		return (&usageError{message: fmt.Sprintf(format, args...)}).of(cmd)
	}
	c.Origin, c.OriginAck, c.OriginPoll, c.FillRate = f.origin, f.originAck, f.originPoll, int64(f.fillRate)
	c.Version = readBuild().Version
	if f.originAck && f.origin == "" {
		return refuse("--origin-ack goes with --origin")
	}
	if f.originPoll <= 0 {
		return refuse("--origin-poll: want more than 0s")
	}
	c.Fleet = node.FleetOptions{
		Name: f.name, Node: f.node, Region: f.region, URL: f.url, Bind: f.gossip, Advertise: f.advertise,
		Join: f.join,
	}
	if f.name == "" && (f.key != "" || len(f.join) > 0 || f.gossip != "") {
		return refuse("--fleet is missing: give all nodes of the fleet the same name")
	}
	if f.name != "" && f.key == "" {
		return refuse("--fleet-key is missing: make one with \"brink fleet key new FILE\" and give it to all nodes")
	}
	switch {
	case f.key == "":
	case isFile(f.key):
		c.Fleet.KeyFile = f.key // a rotation writes it
	default:
		key, err := sh.readSecret("fleet-key", f.key, channel.MaxKey)
		if err != nil {
			return err
		}
		if c.Fleet.Keys, err = gossip.ReadKeys(key.raw); err != nil {
			return refuse("fleet key from %s: %v", key.from, err)
		}
	}
	for _, text := range f.allow {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return refuse("--fleet-allow %q: want a network such as 10.0.0.0/8", text)
		}
		c.Fleet.Allow = append(c.Fleet.Allow, network)
	}
	return nil
}
