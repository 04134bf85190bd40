package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/digest"
)

func orgCommand(sh *shell) *cobra.Command {
	return group("org", "Say who may publish what",
		`An org's trust document names its root keys and its roles: which keys may publish which apps to which channels,
and how many of them must sign. Nodes and devices follow what it says. The root keys sign it; they publish nothing,
so they can stay off line.`,
		orgNewCommand(sh), orgShowCommand(sh), orgUpdateCommand(sh), orgPushCommand(sh))
}

// publisherRole is the role that org new makes, and that org update changes unless told otherwise.
const publisherRole = "publisher"

// orgFlags are what a trust document is made of.
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
	signingFlag(cmd, &o.roots, "root", "`KEY`, private, of a root that signs: "+secretSources+" (repeatable)")
	flags.StringArrayVar(&o.publishers, "publisher", nil, "`FILE` of a public key that may publish (repeatable)")
	flags.StringArrayVar(&o.apps, "apps", nil, "`PATTERN` of apps: a name, or the beginning of names and a * (repeatable)")
	flags.StringArrayVar(&o.channels, "channels", nil, "`PATTERN` of channels (repeatable, all when none is given)")
	flags.IntVar(&o.threshold, "threshold", 1, "`NUMBER` of publisher keys that must sign")
	flags.Var(&o.quota, "quota", "how much the org may keep on a node (0B: no bound of its own)")
	flags.Var(&o.expires, "expires", "how long the document is good for, such as 365d, or never (default: never)")
	flags.StringArrayVar(&o.renewers, "renewer", nil,
		"`FILE` of a public key that may renew manifests and do nothing else (repeatable)")
	flags.StringVar(&o.out, "out", "", "`FILE` to write the trust document to")
}

func orgNewCommand(sh *shell) *cobra.Command {
	var o orgFlags
	cmd := verb("new NAME", "Make the trust document of a new org",
		`The document goes to --out, which must not exist. Give it to every node (serve --trust) and every device (fetch
--trust): it is public, and what they build on. Every root key that you give signs it, and any one of them can sign
its successor.`,
		`
  brink key new root.key
  brink key new ci.key
  brink org new acme --root root.key --publisher ci.key.pub --apps 'com.acme.*' --out acme.trust.json`,
		func(_ *cobra.Command, args []string) error {
			raw, err := sh.newOrg(args[0], &o, time.Now())
			if err != nil {
				return err
			}
			if err := writeNew(o.out, raw, 0o644); err != nil {
				return err
			}
			return sh.showOrg(raw, o.out)
		})
	cmd.Args = args("NAME")
	o.add(cmd)
	cmd.Flags().IntVar(&o.ofRoots, "root-threshold", 1, "`NUMBER` of root keys that must sign")
	required(cmd, "publisher", "apps", "out")
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) newOrg(name string, o *orgFlags, now time.Time) ([]byte, error) {
	roots, err := sh.readKeys(o.roots)
	if err != nil {
		return nil, err
	}
	publishers, err := readPublicKeys(o.publishers)
	if err != nil {
		return nil, err
	}
	c := channel.TrustConfig{
		Org: name, Issued: now.UTC().Truncate(time.Second), Quota: int64(o.quota), Threshold: o.ofRoots,
	}
	err = c.ChangeRole(publisherRole, channel.RoleChange{
		Add: publishers, Apps: patterns(o.apps), Channels: patterns(o.channels), Threshold: o.threshold,
	})
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		c.Roots = append(c.Roots, root.Public())
	}
	if err := o.addRenewers(&c); err != nil {
		return nil, err
	}
	c.Expires = o.expires.from(c.Issued)
	return channel.NewTrust(c, roots...)
}

// renewerRole is the role that --renewer makes, or adds keys to.
const renewerRole = "renewer"

// addRenewers lets keys renew manifests of all apps and channels, and do nothing else.
func (o *orgFlags) addRenewers(c *channel.TrustConfig) error {
	keys, err := readPublicKeys(o.renewers)
	if err != nil {
		return err
	}
	c.AddRenewers(renewerRole, keys...)
	return nil
}

func orgShowCommand(sh *shell) *cobra.Command {
	cmd := verb("show FILE", "Print what a trust document says",
		"The document's own root keys must have signed it. One that has expired is shown as well.",
		"  brink org show acme.trust.json",
		func(_ *cobra.Command, args []string) error {
			raw, err := readFile(args[0], channel.MaxTrust)
			if err != nil {
				return err
			}
			return sh.showOrg(raw, args[0])
		})
	cmd.Args = args("FILE")
	sh.printsJSON(cmd)
	return cmd
}

// orgInfo is what the verbs of org print.
type orgInfo struct {
	File          string          `json:"file"`
	Org           string          `json:"org"`
	Version       uint64          `json:"version"`
	Digest        digest.Digest   `json:"digest"`
	Issued        time.Time       `json:"issued"`
	Expires       *time.Time      `json:"expires,omitempty"` // absent: never
	Expired       bool            `json:"expired"`
	Quota         int64           `json:"quota_bytes"` // 0: no bound of its own
	Roots         []string        `json:"roots"`       // key IDs
	RootThreshold int             `json:"root_threshold"`
	Roles         []channel.Role  `json:"roles"`
	Epochs        []channel.Epoch `json:"epochs,omitempty"`
}

func (sh *shell) showOrg(raw []byte, file string) error {
	trust, err := channel.LoadTrust(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c := trust.Next() // all that the document says, one version higher
	info := orgInfo{
		File: file, Org: trust.Org(), Version: trust.Version(), Digest: trust.Digest(), Issued: trust.Issued(),
		Quota: trust.Quota(), Roots: keyIDs(c.Roots), RootThreshold: c.Threshold, Roles: c.Roles,
		Epochs: c.Epochs,
	}
	if expires := trust.Expires(); !expires.IsZero() {
		info.Expires, info.Expired = &expires, !time.Now().Before(expires)
	}
	return sh.show(info, info.text)
}

func (o orgInfo) text(w io.Writer) {
	fmt.Fprintf(w, "org %s, version %d of its trust document\n", o.Org, o.Version)
	expires := "never"
	if o.Expires != nil {
		expires = moment(*o.Expires)
		if o.Expired {
			expires += " (expired: it allows nothing any more)"
		}
	}
	quota := "none of its own"
	if o.Quota > 0 {
		quota = human(o.Quota)
	}
	facts(w, "file", o.File, "issued", moment(o.Issued), "expires", expires, "quota", quota)
	fmt.Fprintln(w)
	fmt.Fprintf(w, "root keys, %d of %d must sign:\n", o.RootThreshold, len(o.Roots))
	for _, id := range o.Roots {
		fmt.Fprintf(w, "  %s\n", id)
	}
	for _, role := range o.Roles {
		fmt.Fprintln(w)
		fmt.Fprintf(w, "role %s, %d of %s must sign:\n", role.Name, role.Threshold, count(len(role.Keys), "key"))
		pairs := []string{"apps", join(role.Apps), "channels", join(role.Channels)}
		if len(role.May) > 0 {
			pairs = append(pairs, "may only", join(role.May))
		}
		facts(w, pairs...)
		for _, id := range role.Keys {
			fmt.Fprintf(w, "  %s\n", id)
		}
	}
	for _, e := range o.Epochs {
		fmt.Fprintln(w)
		fmt.Fprintf(w, "epoch %d of their sequences:\n", e.Epoch)
		facts(w, "apps", join(e.Apps), "channels", join(e.Channels))
	}
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

// moment returns a time for people to read.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
