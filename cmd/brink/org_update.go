package main

import (
	"cmp"
	"errors"
	"fmt"
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
	var half bool
	cmd := verb("update FILE", "Make the next version of a trust document",
		`Only what you name changes. The new version replaces FILE unless --out names another file. Nodes and devices accept
it if enough root keys of their current version have signed it. A --role that does not exist yet is created: it needs
--publisher and --apps.

--reset is for a channel whose sequences were exhausted with a stolen key: remove that key in the same version, then
publish to the channel with --restart.`,
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
			if half && out == args[0] {
				return (&usageError{
					message: "--half-signed requires --out: FILE stays in force until enough keys have signed",
				}).of(cmd)
			}
			raw, incomplete, err := sh.updateOrg(cmd, args[0], role, half, &o, &roots, remove, reset)
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
			if incomplete {
				result, err := newSigned(raw, "")
				if err != nil {
					return err
				}
				result.File = out
				return sh.show(result, result.text)
			}
			return sh.showOrg(raw, out)
		})
	cmd.Args = args("FILE")
	o.add(cmd)
	cmd.Flags().BoolVar(&half, "half-signed", false,
		"write the document to --out even if more root keys must sign it (see brink sign)")
	cmd.Flags().StringArrayVar(&remove, "remove-publisher", nil,
		"`FILE` of a public key that may no longer publish (repeatable)")
	cmd.Flags().StringArrayVar(&reset, "reset", nil,
		"`APP/CHANNEL`, or patterns: start a new epoch of sequences, higher than all that were ever signed (repeatable)")
	cmd.Flags().StringVar(&role, "role", publisherRole, "`NAME` of the role to change")
	roots.add(cmd)
	sh.printsJSON(cmd)
	return cmd
}

func (sh *shell) updateOrg(
	cmd *cobra.Command, file, role string, half bool, o *orgFlags, change *rootFlags, remove, reset []string,
) (raw []byte, incomplete bool, err error) {
	old, err := readFile(file, channel.MaxTrust)
	if err != nil {
		return nil, false, err
	}
	trust, err := channel.LoadTrust(old)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", file, err)
	}
	roots, err := sh.readKeys(o.roots)
	if err != nil {
		return nil, false, err
	}
	added, err := readPublicKeys(o.publishers)
	if err != nil {
		return nil, false, err
	}
	removed, err := readPublicKeys(remove)
	if err != nil {
		return nil, false, err
	}

	now := time.Now()
	next := trust.NextAt(now)
	if err := change.apply(cmd, &next); err != nil {
		return nil, false, err
	}
	given := cmd.Flags().Changed
	if given("expires") {
		next.Expires = o.expires.from(next.Issued)
	}
	if given("quota") {
		next.Quota = int64(o.quota)
	}
	edit := channel.RoleChange{Add: added, Remove: removed, Apps: patterns(o.apps), Channels: patterns(o.channels)}
	if given("threshold") {
		edit.Threshold = cmp.Or(o.threshold, 1)
	}
	if err := next.ChangeRole(role, edit); err != nil {
		return nil, false, asUsageOf(cmd, err)
	}
	for _, text := range reset {
		app, name, ok := strings.Cut(text, "/")
		if !ok {
			return nil, false, (&usageError{message: fmt.Sprintf("--reset %q: want APP/CHANNEL", text)}).of(cmd)
		}
		next.Reset([]channel.Pattern{channel.Pattern(app)}, []channel.Pattern{channel.Pattern(name)})
	}
	if err := o.addRenewers(&next); err != nil {
		return nil, false, err
	}
	if half {
		raw, incomplete, err = trust.SignPartial(next, now, roots...)
	} else {
		raw, err = trust.SignNext(next, now, roots...)
	}
	if channel.CodeOf(err) == channel.CodeUnknownKey {
		err = withHint(err, "to make it a root key, pass its public key with --add-root")
	}
	return raw, incomplete, err
}

// asUsageOf makes a usage error of an invalid change to a trust document.
func asUsageOf(cmd *cobra.Command, err error) error {
	refused, ok := errors.AsType[*channel.RefusedError](err)
	if !ok {
		return err
	}
	return (&usageError{message: refused.Reason, hint: refused.Hint}).of(cmd)
}
