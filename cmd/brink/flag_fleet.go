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

// fleetFlags are the settings of a node that belongs to a fleet or has an origin.
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
	flags.StringVar(&f.key, "fleet-key", "", "`KEY` of the fleet (brink fleet key new): "+secretSources)
	markSecret(cmd, "fleet-key")
	flags.StringVar(&f.node, "name", "", "`NAME` of this node, unique in the fleet (default: the host name)")
	flags.StringVar(&f.region, "region", "", "`NAME` of the region; nodes prefer to fetch within their region")
	flags.StringVar(&f.gossip, "gossip", "", "`ADDRESS` for gossip, TCP and UDP (default: port 7946 of all interfaces)")
	flags.StringVar(&f.advertise, "advertise", "", "`ADDRESS` at which other nodes reach --gossip, behind NAT")
	flags.StringVar(&f.url, "node-url", "",
		"`URL` at which other nodes reach --listen (default: derived from both addresses)")
	flags.StringSliceVar(&f.join, "join", nil,
		"`HOST:PORT` of nodes of the fleet; a name may have many addresses (repeatable, or comma-separated)")
	flags.StringSliceVar(&f.allow, "fleet-allow", nil, "`CIDR` networks from which nodes may connect (default: all)")
	flags.StringVar(&f.origin, "origin", "",
		"`URL` of a bucket as origin: s3://BUCKET/PREFIX?endpoint=… or, read-only, https://HOST/PREFIX")
	flags.BoolVar(&f.originAck, "origin-ack", false, "acknowledge a release only when it is stored in the origin too")
	flags.DurationVar(&f.originPoll, "origin-poll", node.DefaultOriginPoll, "how often to poll the origin for changes")
	flags.Var(&f.fillRate, "fill-rate",
		"how much to prefetch per second, before devices need it (0B: no limit)")
}

// apply copies the flags to the configuration of a node.
func (f *fleetFlags) apply(sh *shell, cmd *cobra.Command, c *node.Config) error {
	refuse := func(format string, args ...any) error {
		return (&usageError{message: fmt.Sprintf(format, args...)}).of(cmd)
	}
	c.Origin, c.OriginAck, c.OriginPoll, c.FillRate = f.origin, f.originAck, f.originPoll, int64(f.fillRate)
	c.Version = readBuild().Version
	if f.originAck && f.origin == "" {
		return refuse("--origin-ack requires --origin")
	}
	if f.originPoll <= 0 {
		return refuse("--origin-poll: want more than 0s")
	}
	c.Fleet = node.FleetOptions{
		Name: f.name, Node: f.node, Region: f.region, URL: f.url, Bind: f.gossip, Advertise: f.advertise,
		Join: f.join,
	}
	if f.name == "" && (f.key != "" || len(f.join) > 0 || f.gossip != "") {
		return refuse("--fleet missing: set the same name on all nodes of the fleet")
	}
	if f.name != "" && f.key == "" {
		return refuse("--fleet-key missing: make a key with \"brink fleet key new FILE\" and copy it to all nodes")
	}
	switch {
	case f.key == "":
	case isFile(f.key):
		c.Fleet.KeyFile = f.key // a key rotation writes it
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
