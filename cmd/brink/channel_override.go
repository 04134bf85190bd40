package main

import (
	"time"

	"github.com/spf13/cobra"

	"brink/channel"
)

func channelOverrideCommand(sh *shell) *cobra.Command {
	var c changeFlags
	var o channel.Override
	var device channel.Device
	var remove bool
	cmd := verb("override", "Say what one device gets",
		`It gets that whatever the channel says to others: a rollout, a private channel, platforms and steps do not matter.
Without --version it gets what the channel serves, before any rollout, and with --built-in what its native app came
with. The version has to be one that the channel serves or has served; the override ends when the history does not
have it any more. Everybody can read a channel manifest: it holds a hash of the ID, so whoever can guess an ID can see
that it has an override. Prefer random IDs to those that tell something about a person.`,
		`
  brink channel override --device 5f0c21 --channel beta --app com.acme.shop --node http://127.0.0.1:8080 --key ci.key
  brink channel override --device 5f0c21 --version 1.4.0 --dry-run …
  brink channel override --custom-id till-7 --version 1.4.0 …
  brink channel override --device 5f0c21 --built-in …
  brink channel override --device 5f0c21 --remove …`,
		func(cmd *cobra.Command, _ []string) error {
			if (device.ID == "") == (device.Custom == "") {
				return (&usageError{message: "one of --device and --custom-id is wanted"}).of(cmd)
			}
			if err := channel.CheckID(device.ID + device.Custom); err != nil {
				return err
			}
			if remove && (o.Version != "" || o.BuiltIn) || o.BuiltIn && o.Version != "" {
				return (&usageError{message: "--version, --built-in and --remove exclude each other"}).of(cmd)
			}
			c.named = &device
			return sh.change(cmd, c, func(m *channel.Manifest) (*channel.Manifest, error) {
				o.Device, o.Custom = m.HashDevice(device.ID), m.HashCustom(device.Custom)
				if remove {
					return m.RemoveOverride(o, time.Now())
				}
				return m.SetOverride(o, time.Now())
			})
		})
	c.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&device.ID, "device", "", "`ID` of the device")
	flags.StringVar(&device.Custom, "custom-id", "", "`ID` that the app gave the device")
	flags.StringVar(&o.Version, "version", "", "`VERSION` that it gets; without it, what the channel serves")
	flags.BoolVar(&o.BuiltIn, "built-in", false, "it goes back to what its native app came with")
	flags.BoolVar(&remove, "remove", false, "let the device get what others get")
	sh.printsJSON(cmd)
	return cmd
}
