package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
	"brink/internal/durable"
)

func orgUpdateCommand(sh *shell) *cobra.Command {
	var o orgFlags
	var roots rootFlags
	var role string
	var remove, reset []string
	cmd := verb("update FILE", "Make the next version of a trust document",
		`What you do not name stays as it is. The document takes the place of FILE unless --out names another file.
Nodes and devices accept it because root keys that they know have signed it. A --role that does not exist yet is
made: it needs --publisher and --apps. --reset is for a channel whose sequence a stolen key has used up: take that key
out in the same version; then publish to the channel with --anew, and devices follow.`,
		`
  brink org update acme.trust.json --root root.key --publisher ci2.key.pub
  brink org update acme.trust.json --root root.key --remove-publisher ci.key.pub
  brink org update acme.trust.json --root root.key --role beta --publisher qa.key.pub \
      --apps 'com.acme.*' --channels beta
  brink org update acme.trust.json --root root.key --remove-publisher stolen.key.pub --reset 'com.acme.shop/*'`,
		func(cmd *cobra.Command, args []string) error {
			out := o.out
			if out == "" {
				out = args[0]
			}
			raw, err := sh.updateOrg(cmd, args[0], role, &o, &roots, remove, reset)
			if err != nil {
				return err
			}
			if out == args[0] {
				err = durable.Replace(out, raw, 0o644)
			} else {
				err = writeNew(out, raw, 0o644)
			}
			if err != nil {
				return err
			}
			return sh.showOrg(raw, out)
		})
	cmd.Args = args("FILE")
	o.add(cmd)
	cmd.Flags().StringArrayVar(&remove, "remove-publisher", nil,
		"`FILE` of a public key that may publish no longer (repeatable)")
	cmd.Flags().StringArrayVar(&reset, "reset", nil,
		"`APP/CHANNEL`, or patterns of them, whose sequences are reset, above all that were ever signed (repeatable)")
	cmd.Flags().StringVar(&role, "role", publisherRole, "`NAME` of the role to change")
	roots.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) updateOrg(
	cmd *cobra.Command, file, roleName string, o *orgFlags, change *rootFlags, remove, reset []string,
) ([]byte, error) {
	old, err := readFile(file, channel.MaxTrust)
	if err != nil {
		return nil, err
	}
	trust, err := channel.LoadTrust(old)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	roots, err := sh.readKeys(o.roots)
	if err != nil {
		return nil, err
	}
	added, err := readPublicKeys(o.publishers)
	if err != nil {
		return nil, err
	}
	removed, err := readPublicKeys(remove)
	if err != nil {
		return nil, err
	}

	next := trust.Next()
	if err := change.apply(cmd, &next, roots); err != nil {
		return nil, err
	}
	now := time.Now()
	next.Issued = now.UTC().Truncate(time.Second)
	given := cmd.Flags().Changed
	switch {
	case given("expires"):
		next.Expires = o.expires.from(next.Issued)
	case !trust.Expires().IsZero():
		next.Expires = next.Issued.Add(trust.Expires().Sub(trust.Issued()))
	}
	if given("quota") {
		next.Quota = int64(o.quota)
	}

	i := slices.IndexFunc(next.Roles, func(r channel.Role) bool { return r.Name == roleName })
	if i < 0 {
		if len(added) == 0 || len(o.apps) == 0 {
			return nil, (&usageError{
				message: fmt.Sprintf("org %s has no role %s", trust.Org(), roleName),
				hint:    "a new role needs --publisher and --apps",
			}).of(cmd)
		}
		next.Roles = append(next.Roles, channel.Role{Name: roleName, Channels: []channel.Pattern{"*"}})
		i = len(next.Roles) - 1
	}
	role := &next.Roles[i]
	for _, key := range added {
		if !slices.Contains(role.Keys, key.ID()) {
			role.Keys = append(role.Keys, key.ID())
		}
	}
	for _, key := range removed {
		if !slices.Contains(role.Keys, key.ID()) {
			return nil, (&usageError{message: fmt.Sprintf("role %s does not have key %s", roleName, key.ID())}).of(cmd)
		}
		role.Keys = slices.DeleteFunc(role.Keys, func(id string) bool { return id == key.ID() })
	}
	if given("apps") {
		role.Apps = patterns(o.apps)
	}
	if given("channels") {
		role.Channels = patterns(o.channels)
	}
	if given("threshold") {
		role.Threshold = o.threshold
	}
	for _, text := range reset {
		app, name, ok := strings.Cut(text, "/")
		if !ok {
			return nil, (&usageError{message: fmt.Sprintf("--reset %q: want APP/CHANNEL", text)}).of(cmd)
		}
		next.Reset([]channel.Pattern{channel.Pattern(app)}, []channel.Pattern{channel.Pattern(name)})
	}
	next.Keys = append(next.Keys, added...)
	if err := o.addRenewers(&next); err != nil {
		return nil, err
	}
	next.Keys = slices.DeleteFunc(next.Keys, func(key channel.PublicKey) bool {
		return !slices.ContainsFunc(next.Roles, func(r channel.Role) bool { return slices.Contains(r.Keys, key.ID()) })
	})

	raw, err := channel.NewTrust(next, roots...)
	if err != nil {
		return nil, err
	}
	// What nodes and devices would refuse is not written.
	_, err = trust.Accept(raw, now)
	return raw, err
}
