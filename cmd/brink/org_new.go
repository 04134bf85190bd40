package main

import (
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func orgNewCommand(sh *shell) *cobra.Command {
	var o orgFlags
	cmd := verb("new NAME", "Make the trust document of a new org",
		`The document is written to --out, which must not exist. Configure every node (serve --trust) and every device (fetch
--trust) with it. It is public. All --root keys sign it, and any --root-threshold of them can sign its next version.`,
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
