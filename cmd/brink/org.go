package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func orgCommand(sh *shell) *cobra.Command {
	return group("org", "Manage who may publish what",
		`An org's trust document lists its root keys and its roles: which keys may publish which apps to which channels, and
how many of them must sign. Nodes and devices enforce it. The root keys sign it; they do not publish, so they can be
kept offline.`,
		orgNewCommand(sh), orgShowCommand(sh), orgUpdateCommand(sh), orgPushCommand(sh))
}

// publisherRole is the role that org new makes, and that org update changes by default.
const publisherRole = "publisher"

// orgFlags are the contents of a trust document.
type orgFlags struct {
	roots      []string
	publishers []string
	apps       []string
	channels   []string
	threshold  int
	ofRoots    int
	quota      size
	expires    life
	renewers   []string
	out        string
}

func (o *orgFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	signingFlag(cmd, &o.roots, "root", "private root `KEY` that signs: "+secretSources+" (repeatable)")
	flags.StringArrayVar(&o.publishers, "publisher", nil, "`FILE` of a public key that may publish (repeatable)")
	flags.StringArrayVar(&o.apps, "apps", nil, "`PATTERN` of apps: a name, or a prefix followed by * (repeatable)")
	flags.StringArrayVar(&o.channels, "channels", nil, "`PATTERN` of channels (repeatable; default: all)")
	flags.IntVar(&o.threshold, "threshold", 1, "`NUMBER` of publisher keys that must sign")
	flags.Var(&o.quota, "quota", "how much the org may store on a node (0B: only the quota of the node applies)")
	flags.Var(&o.expires, "expires", "how long the document is valid, such as 365d, or never (default: never)")
	flags.StringArrayVar(&o.renewers, "renewer", nil,
		"`FILE` of a public key that may only renew manifests (repeatable)")
	flags.StringVar(&o.out, "out", "", "`FILE` to write the trust document to")
}

// renewerRole is the role that --renewer makes or adds keys to.
const renewerRole = "renewer"

// addRenewers permits keys to renew manifests of all apps and channels, and nothing else.
func (o *orgFlags) addRenewers(c *channel.TrustConfig) error {
	keys, err := readPublicKeys(o.renewers)
	if err != nil {
		return err
	}
	c.AddRenewers(renewerRole, keys...)
	return nil
}

func keyIDs(keys []channel.PublicKey) (ids []string) {
	for _, key := range keys {
		if !slices.Contains(ids, key.ID()) {
			ids = append(ids, key.ID())
		}
	}
	return ids
}

func patterns(texts []string) (list []channel.Pattern) {
	for _, text := range texts {
		list = append(list, channel.Pattern(text))
	}
	return list
}

func join[T ~string](list []T) string {
	var texts []string
	for _, one := range list {
		texts = append(texts, string(one))
	}
	return strings.Join(texts, ", ")
}

// moment formats a time for display.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
